// Growth of whole models, with optimizer and detector.
#include <gtest/gtest.h>

#include "engine/error.h"
#include "engine/growable_buffer.h"
#include "tests/mass/failing_new.h"
#include "tests/mass/growing_model.h"

namespace offshoot {
namespace {

using testing::Bits;
using testing::bytes_of;
using testing::differences;
using testing::GrowingModel;
using testing::GrowingModelOptions;
using Kind = RouteOptions::Kind;
using Names = std::vector<std::string>;

const std::vector<RouteOptions> kRoutes = {
    {Kind::top_k, 1, 1, CombineWeights::raw},
    {Kind::top_k, 2, 1, CombineWeights::renormalised},
    {Kind::top_p, 1, 0.6, CombineWeights::raw},
    {Kind::top_p, 1, 0.6, CombineWeights::renormalised_if_shared}};

// Copies `from`'s weights, taking its row rows[i] for the first layer's row i.
void build_like(GrowingModel& to, GrowingModel& from, const std::vector<int64_t>& rows) {
  for (Parameter* p : parameters(to.model())) {
    const Tensor source = parameter(from.model(), p->name()).value();
    if (p->group() != &to.layer().group()) {
      copy_elements(source, p->value());
      continue;
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      copy_elements(source.rows(rows[i], 1), p->value().rows(static_cast<int64_t>(i), 1));
    }
  }
}

// Function and gradients, bit for bit.
void expect_same_step(GrowingModel& a, GrowingModel& b) {
  EXPECT_EQ(bytes_of(a.backward(77)), bytes_of(b.backward(77)));
  for (Parameter* p : parameters(a.model())) {
    EXPECT_EQ(bytes_of(p->grad()), bytes_of(parameter(b.model(), p->name()).grad())) << p->name();
  }
}

TEST(ModelGrowth, ADuplicateEqualsAModelBuiltSo) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (const RouteOptions& route : kRoutes) {
      GrowingModel grown({.experts = 3, .dtype = dtype, .route = route});
      grown.train(1);
      grown.layer().group().duplicate(1);
      GrowingModelOptions options{.experts = 3, .dtype = dtype, .route = route};
      GrowingModel fresh(options);
      // The second layer keeps three, so a fresh model cannot be asked for four everywhere.
      fresh.layer().group().append(1, [](std::string_view, const Tensor&) {});
      build_like(fresh, grown, {0, 1, 2, 3});
      expect_same_step(grown, fresh);
    }
  }
}

TEST(ModelGrowth, RemovingTheMiddleOfFiveEqualsAModelBuiltInThatOrder) {
  for (const RouteOptions& route : kRoutes) {
    GrowingModel five({.experts = 5, .route = route}), original({.experts = 5, .route = route});
    build_like(original, five, {0, 1, 2, 3, 4});
    five.layer().group().remove(2);
    EXPECT_EQ(five.layer().group().ids(), (std::vector<int64_t>{0, 1, 4, 3}));
    GrowingModel built({.experts = 5, .route = route});
    built.layer().group().remove(4);
    build_like(built, original, {0, 1, 4, 3});
    expect_same_step(five, built);
  }
}

TEST(ModelGrowth, PastTheReserveNothingIsLost) {
  GrowingModel roomy({.experts = 512, .reserve = 600});
  GrowingModel tight({.experts = 512, .reserve = 512});
  for (GrowingModel* model : {&roomy, &tight}) model->train(1);
  const std::byte* before = tight.layer().fc1_weight().value().raw();
  for (GrowingModel* model : {&roomy, &tight}) {
    for (int i = 0; i < 3; ++i) model->layer().group().duplicate(7 * i);
    model->train(2);
  }
  EXPECT_NE(tight.layer().fc1_weight().value().raw(), before);
  EXPECT_EQ(differences(tight.bits(), roomy.bits()), Names{});
}

// The next edit needs new pages in every member: 512 rows of a multiple of 8 bytes fill theirs.
constexpr int64_t kFullPages = 512;

class FailingMember final : public RowMember {
 public:
  explicit FailingMember(int64_t rows) : rows_(rows) {}
  std::string_view name() const override { return "failing"; }
  int64_t rows() const override { return rows_; }
  void prepare(const RowChange&) override { fail("failing", "no"); }
  void commit(const RowChange&) noexcept override {}
  void rollback(const RowChange&) noexcept override {}

 private:
  int64_t rows_;
};

class FailedGrowth : public ::testing::TestWithParam<int64_t> {};

TEST_P(FailedGrowth, OfAnAllocationLeavesEveryBit) {
  GrowingModel model({.experts = kFullPages, .reserve = GetParam()});
  GrowingModel undisturbed({.experts = kFullPages, .reserve = GetParam()});
  for (GrowingModel* each : {&model, &undisturbed}) {
    each->train(1);
    each->train(2);
  }
  const Bits before = model.bits();
  const int64_t bytes = storage_stats().growable_bytes;
  int64_t failures = 0;
  for (bool done = false; !done; failures += !done) {
    testing::fail_commits_after(failures);
    try {
      model.layer().group().duplicate(3);
      done = true;
    } catch (const Error&) {
      ASSERT_EQ(differences(model.bits(), before), Names{}) << "commit " << failures;
      ASSERT_EQ(storage_stats().growable_bytes, bytes);
      ASSERT_EQ(model.layer().group().log().size(), 0u);
      ASSERT_EQ(model.layer().group().next_id(), kFullPages);
    }
    testing::fail_commits_after(-1);
  }
  // Six parameters with gradient, two moments and a step count; norms, z-scores and counts.
  EXPECT_EQ(failures, 6 * 5 + 3);
  undisturbed.layer().group().duplicate(3);
  for (GrowingModel* each : {&model, &undisturbed}) each->train(3);
  EXPECT_EQ(differences(model.bits(), undisturbed.bits()), Names{});
}

// The small allocations of every member and of the transaction itself.
TEST_P(FailedGrowth, OfAnyNewLeavesEveryBit) {
  GrowingModel model({.experts = kFullPages, .reserve = GetParam()});
  model.train(1);
  GrowthGroup& group = model.layer().group();
  const RowInit init = [](std::string_view, const Tensor&) {};
  for (const std::function<void()>& edit : std::vector<std::function<void()>>{
           [&] {
             group.duplicate(3, {7, "test", {{"p_value", 0.5}}});
           },
           [&] { group.append(2, init); }, [&] { group.remove(3); }}) {
    const Bits before = model.bits();
    const int64_t bytes = storage_stats().growable_bytes, next_id = group.next_id();
    const size_t lines = group.log().size();
    int64_t failures = 0;
    for (bool done = false; !done; failures += !done) {
      try {
        const testing::FailingNew failing(failures);
        edit();
        done = true;
      } catch (const std::bad_alloc&) {
      }
      if (done) break;
      ASSERT_EQ(storage_stats().growable_bytes, bytes) << "allocation " << failures;
      ASSERT_EQ(group.next_id(), next_id);
      ASSERT_EQ(group.log().size(), lines);
      ASSERT_EQ(differences(model.bits(), before), Names{}) << "allocation " << failures;
    }
    EXPECT_GT(failures, 20);
  }
}

TEST_P(FailedGrowth, OfAMemberLeavesEveryBit) {
  GrowingModel model({.experts = kFullPages, .reserve = GetParam()});
  model.train(1);
  const Bits before = model.bits();
  const int64_t bytes = storage_stats().growable_bytes;
  GrowthGroup& group = model.layer().group();
  FailingMember member(kFullPages);
  {
    const auto membership = group.join(member);
    EXPECT_THROW(group.duplicate(3), Error);
    EXPECT_THROW(group.remove(3), Error);
    EXPECT_THROW(group.append(2, [](std::string_view, const Tensor&) {}), Error);
  }
  EXPECT_THROW(group.append(1,
                            [](std::string_view name, const Tensor&) {
                              if (name.ends_with("counts")) fail("init", "no");
                            }),
               Error);
  EXPECT_EQ(differences(model.bits(), before), Names{});
  EXPECT_EQ(storage_stats().growable_bytes, bytes);
  EXPECT_EQ(group.log().size(), 0u);
  EXPECT_EQ(group.duplicate(3), kFullPages);
}

INSTANTIATE_TEST_SUITE_P(Reserve, FailedGrowth, ::testing::Values(kFullPages, 2 * kFullPages));

// What a duplication and the removal of the newborn leave behind.
Names changed_by_a_split_and_its_undoing(const GrowingModelOptions& options) {
  GrowingModel model(options);
  for (const uint64_t seed : {1, 2, 3}) model.train(seed);
  model.backward(4);
  const Bits before = model.bits();
  GrowthGroup& group = model.layer().group();
  group.duplicate(1);
  EXPECT_GT(differences(model.bits(), before).size(), 20u);
  group.remove(group.rows() - 1);
  return differences(model.bits(), before);
}

TEST(ModelGrowth, AClonesRemovalRestoresEveryBit) {
  const Names counts = {"blocks.0.moe/counts"};  // the source's restarts by design
  for (const NewbornState newborn :
       {NewbornState::inherit, NewbornState::fresh, NewbornState::reference}) {
    EXPECT_EQ(changed_by_a_split_and_its_undoing(
                  {.decomposition = Decomposition::clone, .newborn = newborn}),
              counts);
  }
  const Names paper = {"blocks.0.moe.fc1.weight.grad", "blocks.0.moe.fc2.weight.grad",
                       "blocks.0.moe.gate.weight.grad", "blocks.0.moe/counts"};
  EXPECT_EQ(changed_by_a_split_and_its_undoing({.decomposition = Decomposition::paper}), paper);
  const Names reference = {"blocks.0.moe.fc1.weight.grad", "blocks.0.moe.gate.weight.grad",
                           "blocks.0.moe/counts"};
  EXPECT_EQ(changed_by_a_split_and_its_undoing({.decomposition = Decomposition::reference}),
            reference);
}

TEST(ModelGrowth, ATapeThatWatchedTheOldPoolIsRefused) {
  GrowingModel model;
  Tape tape;
  Context context{tape, true};
  const Tensor tokens = Tensor::from<int32_t>({1, 2}, {1, 2});
  const Tensor logits = model.model().forward(context, tokens);
  model.layer().group().duplicate(0);
  EXPECT_THROW(tape.backward(logits, Tensor::full(logits.shape(), DType::f64, 1.0)), Error);
}

}  // namespace
}  // namespace offshoot
