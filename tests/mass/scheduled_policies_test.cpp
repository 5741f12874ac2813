// Growth by the clock and by chance.
#include "mass/scheduled_policies.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/error.h"

namespace offshoot {
namespace {

MoeLayer layer_of(const std::string& name, int64_t experts) {
  return MoeLayer(Scope{name, DType::f64, 1}, {.features = 3, .hidden = 2, .experts = experts});
}

MassOptions options() {
  MassOptions options = mass_options(MassPreset::reference, 1000);
  options.phase_begin = 10;
  options.phase_end = 50;
  options.max_experts = 6;
  return options;
}

using Tokens = std::vector<std::vector<int64_t>>;

// All events of steps [0, 60), each expert having as many tokens as its row's number says.
std::vector<GrowthEvent> run(GrowthPolicy& policy, const std::vector<MoeLayer*>& layers) {
  std::vector<GrowthEvent> all;
  for (int64_t step = 0; step < 60; ++step) {
    Tokens tokens;
    for (const MoeLayer* layer : layers) {
      std::vector<int64_t>& counts = tokens.emplace_back();
      for (int64_t row = 0; row < layer->experts(); ++row) counts.push_back(row % 3);
    }
    for (const GrowthEvent& event : policy.grow(step, tokens, 1.0, {})) all.push_back(event);
  }
  return all;
}

TEST(SchedulePolicy, SplitsTheBusiestByTheClock) {
  MoeLayer layer = layer_of("moe", 3);
  SchedulePolicy policy({&layer}, options(), 12);
  const auto events = run(policy, {&layer});
  ASSERT_EQ(events.size(), 3u);
  const int64_t sources[] = {2, 2, 2}, steps[] = {21, 33, 45};  // row 2; of equals the oldest
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(events[i].kind, GrowthEvent::Kind::expand);
    EXPECT_EQ(events[i].step, steps[i]);
    EXPECT_EQ(events[i].source, sources[i]);
    EXPECT_EQ(events[i].experts, static_cast<int64_t>(4 + i));
  }
  EXPECT_EQ(layer.group().log().back().note.policy, "schedule");
}

TEST(SchedulePolicy, StopsAtTheMostAndWithThePhase) {
  MoeLayer layer = layer_of("moe", 3);
  SchedulePolicy policy({&layer}, options(), 1);
  EXPECT_EQ(run(policy, {&layer}).size(), 3u);
  EXPECT_EQ(layer.experts(), 6);
  EXPECT_FALSE(policy.monitors(9));
  EXPECT_TRUE(policy.monitors(10));
  EXPECT_FALSE(policy.monitors(50));
}

// As many splits as asked for, at other steps and of other experts for another seed or layer.
TEST(RandomPolicy, SplitsAsOftenAsNeeded) {
  std::set<std::vector<int64_t>> steps;
  for (const uint64_t seed : {1u, 2u, 3u}) {
    MoeLayer a = layer_of("a", 2), b = layer_of("b", 4);
    RandomPolicy policy({&a, &b}, options(), seed);
    const auto events = run(policy, {&a, &b});
    EXPECT_EQ(a.experts(), 6);
    EXPECT_EQ(b.experts(), 6);
    std::vector<int64_t> of_a;
    for (const GrowthEvent& event : events) {
      EXPECT_GE(event.step, 10);
      EXPECT_LT(event.step, 50);
      if (event.layer == "a") of_a.push_back(event.step);
    }
    EXPECT_EQ(of_a.size(), 4u);
    steps.insert(of_a);
    MoeLayer c = layer_of("a", 2), d = layer_of("b", 4);
    RandomPolicy twin({&c, &d}, options(), seed);
    const auto again = run(twin, {&c, &d});
    ASSERT_EQ(again.size(), events.size());
    for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(again[i].source, events[i].source);
  }
  EXPECT_EQ(steps.size(), 3u);
}

TEST(RandomPolicy, AStepForEachSplit) {
  MoeLayer layer = layer_of("moe", 2);
  MassOptions tight = options();
  tight.phase_end = 14;
  RandomPolicy policy({&layer}, tight, 1);
  EXPECT_EQ(run(policy, {&layer}).size(), 4u);
  MoeLayer other = layer_of("moe", 1);
  EXPECT_THROW(RandomPolicy({&other}, tight, 1), Error);
}

TEST(ScheduledPolicies, PairsAreHeldApart) {
  MoeLayer layer = layer_of("moe", 3);
  SchedulePolicy policy({&layer}, options(), 12);
  EXPECT_EQ(policy.auxiliary_backward(20).item(), 0.0);
  policy.grow(21, {{0, 1, 2}}, 1.0, {});
  EXPECT_NEAR(policy.auxiliary_backward(21).item(), 0.01, 1e-15);  // a copy's cosine is 1
  EXPECT_EQ(policy.auxiliary_backward(50).item(), 0.0);
}

TEST(ScheduledPolicies, RefuseWhatCannotBe) {
  MoeLayer layer = layer_of("moe", 3);
  EXPECT_THROW(SchedulePolicy({&layer}, options(), 0), Error);
  EXPECT_THROW(SchedulePolicy({}, options(), 1), Error);
}

}  // namespace
}  // namespace offshoot
