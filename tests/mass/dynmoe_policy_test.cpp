// DynMoE's adaptation: one cycle of removal and addition against PyTorch, and its rules.
#include "mass/dynmoe_policy.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/error.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "tests/support/top_any_run.h"

namespace offshoot {
namespace {

using Kind = GrowthEvent::Kind;

// The golden run adapts after three steps, all of which are recorded: the last third of nine.
constexpr int64_t kInterval = 9, kFirstStep = 6;

class DynMoeCycle : public testing::TopAnyRun {
 protected:
  void see(int64_t step, const LayerRecord& record) override {
    if (policy_.monitors(kFirstStep + step)) policy_.see(0, record);
  }

  void adapt(int64_t step) override {
    const std::vector<int64_t> before = layer_.group().ids();
    const auto events = policy_.grow(kFirstStep + step, {}, 0.0, {});
    if (step != setting("adapting_step")) {
      EXPECT_TRUE(events.empty());
      return;
    }
    ASSERT_EQ(std::ssize(events), setting("added") + (setting("removed_row") >= 0 ? 1 : 0));
    if (setting("removed_row") >= 0) {
      EXPECT_EQ(events.front().kind, Kind::remove);
      EXPECT_EQ(events.front().source, before[static_cast<size_t>(setting("removed_row"))]);
    }
    if (setting("added") == 0) return;
    EXPECT_EQ(events.back().kind, Kind::add);
    EXPECT_EQ(events.back().experts, layer_.experts());
    take_golden_mlp();
  }

  // Its first weights are drawn; the file has others.
  void take_golden_mlp() {
    for (Parameter* p :
         {&layer_.fc1_weight(), &layer_.fc1_bias(), &layer_.fc2_weight(), &layer_.fc2_bias()}) {
      const Tensor row = p->value().rows(layer_.experts() - 1, 1);
      const double bound = p == &layer_.fc1_weight() || p == &layer_.fc1_bias()
                               ? 1 / std::sqrt(static_cast<double>(setting("features")))
                               : 1 / std::sqrt(static_cast<double>(setting("hidden")));
      for (const double w : row.elements<double>()) {
        EXPECT_NE(w, 0.0);
        EXPECT_LE(std::abs(w), bound);
      }
      copy_elements(golden("fresh/" + p->name()).view(row.shape()), row);
    }
  }

  DynMoePolicy policy_{{&layer_},
                       {.interval = kInterval,
                        .phase_end = 100,
                        .max_experts = 10,
                        .seed = 3,
                        .newborn = NewbornState::fresh}};
};

TEST_P(DynMoeCycle, FollowsPyTorch) { follow(); }

INSTANTIATE_TEST_SUITE_P(Cases, DynMoeCycle, ::testing::Values("add", "remove", "remove_and_add"));

// A layer whose tokens the test sends where it likes: expert e likes the e-th axis.
class DynMoePolicyTest : public ::testing::Test {
 protected:
  DynMoePolicyTest() {
    const Tensor rows = layer_.router().expert_rows()->value();
    fill_zero(rows);
    for (int64_t e = 0; e < 3; ++e) rows.data<double>()[e * 4 + e] = 1.0;
  }

  // One training step on tokens along these axes; 3 is nobody's.
  std::vector<GrowthEvent> step(DynMoePolicy& policy, int64_t number,
                                const std::vector<int64_t>& axes) {
    struct Sink final : LayerSink {
      explicit Sink(DynMoePolicy& p, bool o) : policy(p), open(o) {}
      void add(const LayerRecord& record) override {
        if (open) policy.see(0, record);
      }
      DynMoePolicy& policy;
      bool open;
    } sink(policy, policy.monitors(number));
    Tensor x = Tensor::zeros({std::ssize(axes), 4}, DType::f64);
    for (size_t n = 0; n < axes.size(); ++n) {
      x.data<double>()[static_cast<int64_t>(n) * 4 + axes[n]] = 2.0;
    }
    Tape tape = Tape::none();
    Context context{tape, true, {}, {}, &sink};
    layer_.forward(context, x);
    return policy.grow(number, {}, 0.0, {});
  }

  MoeLayer layer_{Scope{"moe", DType::f64, 1},
                  {.features = 4,
                   .hidden = 3,
                   .experts = 3,
                   .max_experts = 8,
                   .router = RouterKind::top_any,
                   .learn_temperature = false}};
  DynMoeOptions options_{.interval = 3, .phase_end = 12, .max_experts = 4};
};

TEST_F(DynMoePolicyTest, OnlyTheLastThirdCounts) {
  DynMoePolicy policy({&layer_}, options_);
  EXPECT_FALSE(policy.monitors(0));
  EXPECT_FALSE(policy.monitors(1));
  EXPECT_TRUE(policy.monitors(2));
  EXPECT_FALSE(policy.monitors(14));  // behind the phase
  EXPECT_TRUE(step(policy, 0, {3}).empty());
  EXPECT_TRUE(step(policy, 1, {0}).empty());
  EXPECT_TRUE(step(policy, 2, {0, 1, 2}).empty());  // the token without an expert came too early
  EXPECT_EQ(layer_.experts(), 3);
}

TEST_F(DynMoePolicyTest, IdleExpertsGoAndHomelessTokensGetOne) {
  DynMoePolicy policy({&layer_}, options_);
  const auto events = step(policy, 2, {1, 3, 3});
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].kind, Kind::remove);
  EXPECT_EQ(events[0].source, 0);
  EXPECT_EQ(events[1].kind, Kind::remove);
  EXPECT_EQ(events[1].source, 2);
  EXPECT_EQ(events[2].kind, Kind::add);
  EXPECT_EQ(events[2].created, 3);
  EXPECT_EQ(layer_.experts(), 2);
  const Tensor row = layer_.router().expert_rows()->value().rows(1, 1);
  for (int64_t d = 0; d < 4; ++d) EXPECT_DOUBLE_EQ(row.data<double>()[d], d == 3 ? 1.0 : 0.0);
  // The next interval begins with nothing.
  EXPECT_TRUE(step(policy, 5, {1, 3}).empty());
}

TEST_F(DynMoePolicyTest, TheLastExpertStaysAndNoneIsAddedBeyondTheMost) {
  DynMoePolicy policy({&layer_}, options_);
  const auto events = step(policy, 2, {3});  // nobody received anything
  EXPECT_EQ(std::ranges::count(events, Kind::remove, &GrowthEvent::kind), 2);
  EXPECT_EQ(layer_.experts(), 2);
  options_.max_experts = 2;
  DynMoePolicy full({&layer_}, options_);
  EXPECT_TRUE(step(full, 5, {3, 2, 0}).empty());
}

TEST_F(DynMoePolicyTest, ANewExpertsStepCountIsTrainingsOrItsOwn) {
  for (const auto newborn : {NewbornState::reference, NewbornState::fresh}) {
    MoeLayer layer(Scope{"moe", DType::f64, 1}, {.features = 4,
                                                 .hidden = 3,
                                                 .experts = 1,
                                                 .router = RouterKind::top_any,
                                                 .learn_temperature = false});
    AdamW optimizer({{parameters(layer)}});
    options_.newborn = newborn;
    DynMoePolicy policy({&layer}, options_);
    for (int64_t number = 0; number < 3; ++number) {
      Tape tape;
      struct Sink final : LayerSink {
        void add(const LayerRecord& record) override { policy->see(0, record); }
        DynMoePolicy* policy;
      } sink;
      sink.policy = &policy;
      Context context{tape, true, {}, {}, &sink};
      const Tensor x = uniform({6, 4}, DType::f64, Random(1, 1), -1.0, 1.0);
      optimizer.zero_grad();
      tape.backward(mean(tape, layer.forward(context, x)));
      policy.grow(number, {}, 0.0, {});
      optimizer.step(1e-3);
    }
    ASSERT_EQ(layer.experts(), 2);
    optimizer.each_state([&](const std::string& name, const Tensor& state) {
      if (name != "moe.fc1.weight/step") return;
      EXPECT_EQ(state.data<int64_t>()[0], 3);
      EXPECT_EQ(state.data<int64_t>()[1], newborn == NewbornState::fresh ? 1 : 3);
    });
  }
}

// Under a router that finds everyone an expert, idle ones go and none is added.
TEST_F(DynMoePolicyTest, GoesWithAnyRouter) {
  MoeLayer cosine(Scope{"moe", DType::f64, 1},
                  {.features = 4, .hidden = 3, .experts = 3, .router = RouterKind::cosine});
  DynMoePolicy policy({&cosine}, {.interval = 1, .phase_end = 9});
  GrowthSink sink(policy);
  Tape tape = Tape::none();
  Context context{tape, true, {}, {}, &sink};
  cosine.forward(context, uniform({1, 4}, DType::f64, Random(1, 1), -1.0, 1.0));
  EXPECT_EQ(policy.grow(0, sink.tokens(), 0.0, {}).size(), 2u);  // one token has one expert
  EXPECT_EQ(cosine.experts(), 1);
  EXPECT_GT(policy.times().observe, 0);
  EXPECT_GT(policy.times().edit, 0);
}

TEST_F(DynMoePolicyTest, RefusesWhatCannotBe) {
  EXPECT_THROW(DynMoePolicy({}, options_), Error);
  options_.max_experts = 2;
  EXPECT_THROW(DynMoePolicy({&layer_}, options_), Error);
  options_.max_experts = 8;
  options_.newborn = NewbornState::inherit;
  EXPECT_THROW(DynMoePolicy({&layer_}, options_), Error);
}

}  // namespace
}  // namespace offshoot
