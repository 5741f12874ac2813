// Checkpoints of a model that grows: all of it comes back, or nothing changes.
#include "engine/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "engine/growth_state.h"
#include "engine/random.h"
#include "tests/engine/file_test.h"

namespace offshoot {
namespace {

// Two parameters of fixed shape, a pool of experts with moments, and a run's odds and ends.
class Training final : public Module {
 public:
  explicit Training(uint64_t seed, int64_t experts = 3, DType dtype = DType::f32)
      : group_("block.moe", experts),
        head_("head.weight", random_tensor({5, 7}, dtype, seed)),
        bias_("head.bias", random_tensor({7}, dtype, seed + 1)),
        fc1_("block.moe.fc1.weight", random_tensor({experts, 4, 6}, dtype, seed + 2), group_),
        exp_avg_("exp_avg", {experts, 4, 6}, dtype, 8, NewRow::copy),
        steps_("steps", {experts}, DType::i64, 8, NewRow::zero) {
    memberships_[0] = group_.join(exp_avg_);
    memberships_[1] = group_.join(steps_);
    for (Tensor row : {exp_avg_.tensor(), steps_.tensor()}) {
      if (is_float(row.dtype())) {
        copy_elements(random_tensor(row.shape(), row.dtype(), seed + 3), row);
      } else {
        for (int64_t& step : row.elements<int64_t>()) step = static_cast<int64_t>(seed);
      }
    }
    losses = {1.5, static_cast<double>(seed)};
    position = static_cast<int64_t>(seed) * 100;
  }

  void each_parameter(const ParameterVisitor& visit) override {
    visit(head_);
    visit(bias_);
    visit(fc1_);
    visit(head_);  // tied
  }
  void each_growth_group(const GroupVisitor& visit) override { visit(group_); }

  std::vector<CheckpointPart> parts() {
    return {{"optimizer",
             [this](State& state) {
               state.tensor("block.moe.fc1.weight/exp_avg", exp_avg_.tensor(), &group_);
               state.tensor("block.moe.fc1.weight/step", steps_.tensor(), &group_);
             }},
            {"data",
             [this](State& state) {
               state.value("position", position);
               state.value("stopped", stopped);
               state.values("pairs", pairs);
               state.text("note", note);
               state.table("events", events);
               if (state.checking()) {
                 for (const int64_t id : state.peek<int64_t>("pairs")) {
                   if (id >= 1000) fail("data", "pairs: got {}, expected below 1000", id);
                 }
               }
             }},
            {"metrics", [this](State& state) { state.values("loss", losses); }}};
  }

  // Every byte of state, by name.
  std::map<std::string, std::string> everything() {
    std::map<std::string, std::string> all;
    const auto add = [&](const std::string& name, const Tensor& tensor) {
      all[name] =
          to_string(tensor.shape()) + std::string(reinterpret_cast<const char*>(tensor.raw()),
                                                  static_cast<size_t>(tensor.bytes()));
    };
    for (Parameter* parameter : parameters(*this)) add(parameter->name(), parameter->value());
    add("exp_avg", exp_avg_.tensor());
    add("steps", steps_.tensor());
    for (const int64_t id : group_.ids()) all["ids"] += fmt::format("{} ", id);
    all["growth"] = fmt::format("{} {}", group_.next_id(), group_.log().size());
    all["data"] = fmt::format("{} {} {} {} {}", position, stopped, note, pairs.size(),
                              std::get<0>(events[0].values).size());
    for (const double loss : losses) all["loss"] += fmt::format("{} ", loss);
    return all;
  }

  GrowthGroup& group() { return group_; }
  Parameter& fc1() { return fc1_; }

  int64_t position = 0;
  bool stopped = false;
  std::vector<int64_t> pairs;
  std::string note;
  std::vector<H5Column> events{{"step", std::vector<int64_t>{}}, {"gain", std::vector<double>{}}};
  std::vector<double> losses;

 private:
  static Tensor random_tensor(const Shape& shape, DType dtype, uint64_t seed) {
    return normal(shape, dtype, Random(seed, 9), 0, 1);
  }

  GrowthGroup group_;
  Parameter head_, bias_, fc1_;
  RowTensor exp_avg_, steps_;
  GrowthGroup::Membership memberships_[2];
};

// Two births, a death, and a value in every odd and end.
void live(Training& run) {
  run.group().duplicate(1, {10, "mass", {{"p_value", 0.004}, {"cosine", -0.1}}});
  run.group().duplicate(0, {20, "mass", {{"p_value", 0.003}}});
  run.group().remove(1, {30, "user", {{"gain", -0.5}}});
  run.stopped = true;
  run.pairs = {1, 3};
  run.note = "größer";
  run.events = {{"step", std::vector<int64_t>{10}}, {"gain", std::vector<double>{0.25}}};
}

void save(const std::string& path, Training& run, Provenance where = provenance()) {
  save_checkpoint(path, {{7, 42}, "{\"experts\": 3}", std::move(where)}, run, run.parts());
}

class CheckpointTest : public FileTest {};

TEST_F(CheckpointTest, BringsBackEverything) {
  Training run(1), other(2, 5);
  live(run);
  save(path("c.h5"), run);
  const CheckpointReader file(path("c.h5"));
  EXPECT_EQ(read_configuration(file), "{\"experts\": 3}");
  EXPECT_EQ(file.head(), (CheckpointHead{7, 42}));
  ASSERT_NE(run.everything(), other.everything());
  load_checkpoint(file, other, other.parts());
  EXPECT_EQ(run.everything(), other.everything());
  EXPECT_EQ(other.group().ids(), (std::vector<int64_t>{0, 4, 2, 3}));
  EXPECT_EQ(other.fc1().value().shape(), (Shape{4, 4, 6}));
  EXPECT_FALSE(other.fc1().has_grad());

  const std::vector<Edit>& log = other.group().log();
  ASSERT_EQ(log.size(), 3u);
  EXPECT_EQ(log[0].kind, RowChange::Kind::duplicate);
  EXPECT_EQ(log[0].note.values, run.group().log()[0].note.values);
  EXPECT_EQ(log[2].note.policy, "user");
  EXPECT_EQ(log[2].note.step, 30);

  // Both go on alike.
  for (Training* each : {&run, &other}) each->group().duplicate(3, {40, "mass", {}});
  EXPECT_EQ(run.everything(), other.everything());
}

TEST_F(CheckpointTest, APartHasANameOfItsOwn) {
  Training run(1);
  for (const std::string name : {"model", "growth", "lineage", "configuration", "provenance"}) {
    EXPECT_THROW(save_checkpoint(path("a.h5"), {{}, "{}", {}}, run, {{name, [](State&) {}}}),
                 Error);
  }
  EXPECT_EQ(files(), 0);
}

TEST_F(CheckpointTest, ResavingGivesTheSameFile) {
  Training run(1), other(2);
  live(run);
  save(path("a.h5"), run, {{"time", "then"}});
  load_checkpoint(CheckpointReader(path("a.h5")), other, other.parts());
  save(path("b.h5"), other, {{"time", "later"}, {"host", "elsewhere"}});
  const H5Reader a(path("a.h5")), b(path("b.h5"));
  const auto outside = [](const H5Reader& file) {
    std::vector<std::string> names = file.objects();
    std::erase_if(names, [](const std::string& name) { return name.starts_with("provenance/"); });
    return names;
  };
  EXPECT_EQ(outside(a), outside(b));
  for (const std::string& name : outside(a)) {
    EXPECT_EQ(a.attributes(name), b.attributes(name));
    for (const std::string& key : a.attributes(name)) {  // a dataset's xxh3 stands for its bytes
      EXPECT_EQ(a.attribute(name, key), b.attribute(name, key)) << name << " " << key;
    }
  }
  if (shell("h5diff -V > out 2>&1") != 0) GTEST_SKIP() << "h5diff is not installed";
  EXPECT_EQ(shell("h5diff --exclude-path /provenance a.h5 b.h5 > out 2>&1"), 0);
  EXPECT_EQ(bytes_of(path("out")), "");
  run.losses[0] += 1;
  save(path("b.h5"), run);
  EXPECT_NE(shell("h5diff --exclude-path /provenance a.h5 b.h5 > out 2>&1"), 0);
}

TEST_F(CheckpointTest, WritesLineage) {
  Training run(1);
  live(run);
  save(path("c.h5"), run);
  const std::vector<H5Column> table = H5Reader(path("c.h5")).read_table("lineage/block.moe");
  const auto integers = [&](size_t c) { return std::get<0>(table[c].values); };
  ASSERT_EQ(table.size(), 7u);
  EXPECT_EQ(integers(0), (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(integers(1), (std::vector<int64_t>{-1, -1, -1, 1, 0}));
  EXPECT_EQ(integers(2), (std::vector<int64_t>{0, 0, 0, 10, 20}));
  EXPECT_EQ(integers(3), (std::vector<int64_t>{-1, 30, -1, -1, -1}));
  EXPECT_EQ(table[4].name, "p_value");
  EXPECT_EQ(std::get<1>(table[4].values)[3], 0.004);
  EXPECT_TRUE(std::isnan(std::get<1>(table[5].values)[4]));
  EXPECT_EQ(table[6].name, "gain");
  EXPECT_EQ(std::get<1>(table[6].values)[1], -0.5);
}

TEST_F(CheckpointTest, WritesNothingEmpty) {
  Training run(1);
  save(path("c.h5"), run);
  const H5Reader file(path("c.h5"));
  EXPECT_FALSE(file.has("data/pairs"));
  EXPECT_FALSE(file.has("data/note"));
  EXPECT_FALSE(file.has("data/events"));
  EXPECT_FALSE(file.has("growth/block.moe/log"));
  Training other(2);
  live(other);
  load_checkpoint(CheckpointReader(path("c.h5")), other, other.parts());
  EXPECT_EQ(run.everything(), other.everything());
}

// `what` goes wrong when `other` loads `run`'s file: `other` keeps every bit.
void expect_refused(const std::string& path, Training& run, Training& other,
                    std::vector<CheckpointPart> parts, const std::string& what) {
  save(path, run);
  const auto before = other.everything();
  const std::string error =
      error_of([&] { load_checkpoint(CheckpointReader(path), other, parts); });
  EXPECT_TRUE(contains(error, what)) << error;
  EXPECT_EQ(other.everything(), before);
}

TEST_F(CheckpointTest, RefusesWhatDoesNotFitAndChangesNothing) {
  Training run(1), other(2), wide(3, 3, DType::f64);
  live(run);
  expect_refused(path("c.h5"), run, wide, wide.parts(),
                 "model/head.weight: got f32 [5, 7], expected f64 [5, 7]");

  std::vector<CheckpointPart> parts = other.parts();
  parts.pop_back();
  expect_refused(path("c.h5"), run, other, parts,
                 "got 1 datasets that this run has no place for (metrics/loss)");

  parts = other.parts();
  std::vector<double> more{1};
  Tensor extra = Tensor::zeros({3}, DType::f32);
  parts.push_back({"more", [&](State& state) { state.tensor("x", extra); }});
  expect_refused(path("c.h5"), run, other, parts, "more/x: is missing");
  parts.back().each_state = [&](State& state) { state.value("x", more[0]); };
  expect_refused(path("c.h5"), run, other, parts, "more/x: is missing");

  parts = other.parts();
  parts[2].each_state = [&](State& state) { state.tensor("loss", extra); };
  expect_refused(path("c.h5"), run, other, parts, "metrics/loss: got f64 [2], expected f32 [3]");

  run.pairs = {1, 1000};
  expect_refused(path("c.h5"), run, other, other.parts(), "pairs: got 1000");
}

// A member that cannot take the file's rows is found before any group has changed.
TEST_F(CheckpointTest, AFailingMemberChangesNothing) {
  struct Stubborn final : RowMember {
    std::string_view name() const override { return "stubborn"; }
    int64_t rows() const override { return 3; }
    void prepare(const RowChange&) override { fail("stubborn", "no"); }
    void commit(const RowChange&) noexcept override {}
    void rollback(const RowChange&) noexcept override {}
  } stubborn;
  Training run(1), other(2);
  live(run);
  const auto membership = other.group().join(stubborn);
  expect_refused(path("c.h5"), run, other, other.parts(), "[stubborn] no");
}

TEST_F(CheckpointTest, RefusesAGrowthStateThatCannotBe) {
  Training other(2);
  const auto before = other.everything();
  const auto error = [&](const std::vector<int64_t>& ids, const std::vector<H5Column>& log,
                         int64_t next_id = 0) {
    if (next_id == 0) next_id = std::ssize(ids);
    Training run(1);
    {
      CheckpointWriter file(path("c.h5"), {});
      for (Parameter* parameter : parameters(run)) {
        State state(file.h5());
        state.scope("model").tensor(parameter->name(), parameter->value());
      }
      State state(file.h5());
      for (const CheckpointPart& part : run.parts()) {
        State scope = state.scope(part.name);
        part.each_state(scope);
      }
      file.h5().write("growth/block.moe/ids", Shape{std::ssize(ids)}, ids);
      file.h5().write("growth/block.moe/next_id", Shape{}, std::vector<int64_t>{next_id});
      if (!log.empty()) {
        file.h5().write_texts("growth/block.moe/policies", {"mass"});
        file.h5().write_table("growth/block.moe/log", log);
      }
      file.commit();
    }
    const std::string text =
        error_of([&] { load_checkpoint(CheckpointReader(path("c.h5")), other, other.parts()); });
    return text;
  };
  EXPECT_TRUE(contains(error({0, 1, 1}, {}), "ids: got 3 of them, expected distinct"));
  EXPECT_TRUE(contains(error({0, 1, 3}, {}), "ids: got 3 of them, expected distinct"));
  EXPECT_TRUE(contains(error({0, 1}, {}), "got f32 [3, 4, 6], expected f32 [2, 4, 6]"));
  EXPECT_TRUE(
      contains(error({0, 1, 2}, {{"id", std::vector<int64_t>{0}}}), "not those of an edit"));
  EXPECT_TRUE(contains(error({0, 1, 2}, {}, int64_t{1} << 60), "next_id: got 1152921504606846976"));
  const std::vector<int64_t> one{1};
  EXPECT_TRUE(contains(error({0, 1, 2}, {{"kind", std::vector<int64_t>{9}},
                                         {"source_id", one},
                                         {"new_id", one},
                                         {"step", one},
                                         {"policy", std::vector<int64_t>{0}}}),
                       "out of range"));
  EXPECT_EQ(other.everything(), before);
  EXPECT_EQ(error({0, 1, 2}, {}), "");
  EXPECT_NE(other.everything(), before);
}

TEST_F(CheckpointTest, ProvenanceSaysWhereItWasMade) {
  Training run(1);
  save(path("c.h5"), run);
  const H5Reader file(path("c.h5"));
  EXPECT_EQ(file.children("provenance"),
            (std::vector<std::string>{"engine_version", "host", "threads", "time"}));
  EXPECT_EQ(file.read_text("provenance/time").size(), 20u);
}

}  // namespace
}  // namespace offshoot
