// Sequences of decisions: who is duplicated, kept, removed, and when a layer stops.
#include "mass/controller.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/error.h"
#include "tests/mass/fake_pools.h"

namespace offshoot {
namespace {

using testing::cosine_decides;
using testing::FakeGradients;
using testing::FakePools;
using Texts = std::vector<std::string>;
using Ids = std::vector<int64_t>;
using Pairs = std::vector<std::pair<int64_t, int64_t>>;

TEST(MassController, ReferencePatienceIsOneTotal) {
  FakePools pools(cosine_decides(MassPreset::reference), 2);
  EXPECT_EQ(pools.drift({{0, 1}}), Texts{});  // windows are not full
  EXPECT_EQ(pools.drift({{1}}), Texts{"expand 1>2"});
  EXPECT_EQ(pools.drift({{}}), Texts{});
  EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>3"});  // one expansion: not yet probed
  EXPECT_EQ(pools.drift({{0}}, {0.5}), (Texts{"keep 3", "expand 0>4"}));
  EXPECT_EQ(pools.drift({{0}}, {-0.1}), (Texts{"reject 4", "expand 0>5"}));
  EXPECT_EQ(pools.drift({{0}}, {0.5}), (Texts{"keep 5", "expand 0>6"}));
  EXPECT_EQ(pools.drift({{0}}, {0.0}), (Texts{"reject 6", "expand 0>7"}));
  EXPECT_EQ(pools.drift({{0}}, {-0.1}), (Texts{"reject 7", "expand 0>8"}));
  EXPECT_EQ(pools.controller().state(0).patience, 0);
  EXPECT_NE(pools.controller().detector(0), nullptr);
  EXPECT_EQ(pools.drift({{0}}, {-0.1}), Texts{"stop 8"});
  EXPECT_EQ(pools.layer().group().ids(), (Ids{0, 1, 2, 3, 5}));
  EXPECT_TRUE(pools.controller().state(0).stopped);
  EXPECT_EQ(pools.controller().detector(0), nullptr);  // nothing is observed any more
  EXPECT_EQ(pools.drift({{0, 1, 2, 3, 5}}), Texts{});
  for (const auto& probe : pools.probes()) EXPECT_TRUE(probe.fresh_dropout);
}

TEST(MassController, PaperPatienceCountsConsecutiveFailures) {
  FakePools pools(cosine_decides(MassPreset::paper), 2);
  EXPECT_EQ(pools.drift({{0, 1}}), Texts{});
  EXPECT_EQ(pools.drift({{1}}), Texts{"expand 1>2"});
  EXPECT_EQ(pools.drift({{0}}, {-0.1}), (Texts{"reject 2", "expand 0>3"}));
  EXPECT_EQ(pools.drift({{0}}, {-0.1}), (Texts{"reject 3", "expand 0>4"}));
  EXPECT_EQ(pools.drift({{0}}, {0.1}), (Texts{"keep 4", "expand 0>5"}));
  EXPECT_EQ(pools.controller().state(0).patience, 3);
  EXPECT_EQ(pools.drift({{0}}, {-0.1}), (Texts{"reject 5", "expand 0>6"}));
  EXPECT_EQ(pools.drift({{0}}, {-0.1}), (Texts{"reject 6", "expand 0>7"}));
  EXPECT_EQ(pools.drift({{0}}, {-0.1}), (Texts{"reject 7", "expand 0>8"}));
  EXPECT_EQ(pools.drift({{0}}, {-0.1}), Texts{"stop"});
  EXPECT_EQ(pools.layer().group().ids(), (Ids{0, 1, 4, 8}));  // the last one stays
  EXPECT_EQ(pools.drift({{0, 1, 4, 8}}), Texts{});
  for (const auto& probe : pools.probes()) EXPECT_FALSE(probe.fresh_dropout);
}

TEST(MassController, ARemovedExpertIsNotDuplicated) {
  for (const MassPreset preset : {MassPreset::paper, MassPreset::reference}) {
    MassOptions options = cosine_decides(preset);
    options.min_expansions = 0;
    FakePools pools(options, 2);
    pools.drift({{}});
    EXPECT_EQ(pools.drift({{1}}), Texts{"expand 1>2"});
    pools.drift({{}});
    EXPECT_EQ(pools.drift({{2}}, {-0.1}), Texts{"reject 2"});
    EXPECT_EQ(pools.controller().state(0).expansions, 0);
    EXPECT_EQ(pools.controller().state(0).patience, 2);
    // Only initial experts live: none is probed.
    EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>3"});
  }
}

TEST(MassController, ExpansionsAreCountedNetOfRemovals) {
  FakePools pools(cosine_decides(MassPreset::reference), 2);
  pools.drift({{}});
  pools.drift({{1}});
  EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>3"});
  pools.drift({{}});
  EXPECT_EQ(pools.drift({{3}}, {-0.1}), Texts{"reject 3"});
  EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>4"});  // one expansion again: no probe
}

TEST(MassController, NoPatienceStopsAtTheFirstFailure) {
  MassOptions options = cosine_decides(MassPreset::paper);
  options.patience = 0;
  FakePools pools(options, 1);
  pools.drift({{}});
  EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>1"});
  EXPECT_EQ(pools.drift({{0}}, {0.0}), Texts{"stop"});
}

TEST(MassController, ThePoolStopsAtItsMaximum) {
  for (const MassPreset preset : {MassPreset::paper, MassPreset::reference}) {
    MassOptions options = cosine_decides(preset);
    options.max_experts = 3;
    FakePools pools(options, 2);
    pools.drift({{}});
    EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>2"});
    EXPECT_FALSE(pools.controller().state(0).stopped);
    EXPECT_EQ(pools.drift({{0, 1}}), Texts{});  // neither examined nor probed
    EXPECT_TRUE(pools.controller().state(0).stopped);
    EXPECT_EQ(pools.controller().detector(0), nullptr);
    pools.layer().group().remove(2);  // room again, but never again
    EXPECT_EQ(pools.drift({{0, 1}}), Texts{});
  }
}

TEST(MassController, OneDuplicationALayerAndStepTheOldestFirst) {
  FakePools pools(cosine_decides(MassPreset::reference), 3);
  pools.layer().group().remove(0);
  ASSERT_EQ(pools.layer().group().ids(), (Ids{2, 1}));
  pools.drift({{}});
  EXPECT_EQ(pools.drift({{1, 2}}), Texts{"expand 1>3"});
  EXPECT_EQ(pools.drift({{1, 2}}), Texts{"expand 1>4"});
}

TEST(MassController, PaperProbesAllLayersBeforeAnyChange) {
  FakePools pools(cosine_decides(MassPreset::paper), 2, 2);
  pools.drift({{}, {}});
  EXPECT_EQ(pools.drift({{0}, {1}}), (Texts{"a: expand 0>2", "b: expand 1>2"}));
  EXPECT_EQ(pools.drift({{0}, {1}}, {0.2, -0.1}),
            (Texts{"a: keep 2", "a: expand 0>3", "b: reject 2", "b: expand 1>3"}));
  ASSERT_EQ(pools.probes().size(), 2u);
  for (const auto& probe : pools.probes()) EXPECT_EQ(probe.experts, (Ids{3, 3}));
  EXPECT_EQ(pools.controller().state(0).patience, 3);
  EXPECT_EQ(pools.controller().state(1).patience, 2);
}

TEST(MassController, ReferenceGoesLayerByLayer) {
  MassOptions options = cosine_decides(MassPreset::reference);
  options.min_expansions = 0;
  FakePools pools(options, 2, 2);
  pools.drift({{}, {}});
  pools.drift({{0}, {1}});
  EXPECT_EQ(pools.drift({{0}, {1}}, {0.2, -0.1}),
            (Texts{"a: keep 2", "a: expand 0>3", "b: reject 2", "b: expand 1>3"}));
  ASSERT_EQ(pools.probes().size(), 2u);
  EXPECT_EQ(pools.probes()[0].experts, (Ids{3, 3}));
  EXPECT_EQ(pools.probes()[1].experts, (Ids{4, 3}));
}

TEST(MassController, AProbeLeavesOutTheLastExpertOfOneLayer) {
  FakePools pools(cosine_decides(MassPreset::paper), 3, 2);
  pools.layer(1).group().remove(0);  // ids 2, 1
  pools.drift({{}, {}});
  pools.drift({{}, {2}});
  pools.drift({{}, {1}}, {0.1});
  ASSERT_EQ(pools.probes().size(), 1u);
  const auto& offsets = pools.probes()[0].offsets;
  ASSERT_EQ(offsets.size(), 1u);
  ASSERT_EQ(offsets.at("b").size(), 1u);
  EXPECT_EQ(offsets.at("b")[0].row, 2);
  EXPECT_EQ(offsets.at("b")[0].offset, -std::numeric_limits<double>::infinity());
}

TEST(MassController, OthersMayEditThePoolBetweenSteps) {
  FakePools pools(cosine_decides(MassPreset::paper), 3);
  pools.drift({{}});
  EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>3"});
  pools.layer().group().remove(0);
  ASSERT_EQ(pools.layer().group().ids(), (Ids{3, 1, 2}));
  EXPECT_EQ(pools.controller().auxiliary_backward(2).item(), 0.0);  // one of the pair is gone
  EXPECT_EQ(pools.drift({{1}}, {0.1}), (Texts{"keep 3", "expand 1>4"}));
  EXPECT_EQ(pools.probes()[0].offsets.at("a")[0].row, 0);  // the last added one, not the last row
  EXPECT_EQ(pools.controller().pairs(0), (Pairs{{1, 4}}));
}

TEST(MassController, WithoutStoppingNothingIsProbed) {
  MassOptions options = cosine_decides(MassPreset::paper);
  options.stopping = false;
  options.max_experts = 4;
  FakePools pools(options, 1);
  pools.drift({{}});
  EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>1"});
  EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>2"});
  EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>3"});
  EXPECT_EQ(pools.drift({{0}}), Texts{});
}

TEST(MassController, PairsFollowBirthsAndRemovals) {
  FakePools pools(cosine_decides(MassPreset::paper), 2);
  pools.drift({{}});
  pools.drift({{1}});
  pools.drift({{1}}, {0.1});
  EXPECT_EQ(pools.controller().pairs(0), (Pairs{{1, 2}, {1, 3}}));
  pools.drift({{0}}, {-0.1});
  EXPECT_EQ(pools.controller().pairs(0), (Pairs{{1, 2}, {0, 4}}));
  EXPECT_EQ(pools.controller().state(0).expansions, 2);
}

TEST(MassController, EventsAndLineageSayWhy) {
  FakePools pools(cosine_decides(MassPreset::paper), 2);
  pools.drift({{}});
  pools.drift({{1}});
  const auto events = pools.advance({{{0, {.norm = 3.0, .cosine = 0.0}}}}, {-0.25});
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].step, 2);
  EXPECT_EQ(events[0].layer, "a");
  EXPECT_EQ(events[0].gain, -0.25);
  EXPECT_EQ(events[0].experts, 2);
  EXPECT_TRUE(std::isnan(events[0].p_value));
  // Norms 1, 1, 3 and windows of two: z = 0, 0, 0.5 sqrt(2); s = 0.5.
  const double p_value = 0.5 * std::erfc(0.5 / std::sqrt(2.0));
  EXPECT_NEAR(events[1].p_value, p_value, 1e-12);
  EXPECT_NEAR(events[1].cosine, 0.0, 1e-15);
  EXPECT_EQ(events[1].gain, -0.25);
  EXPECT_EQ(events[1].experts, 3);

  const std::vector<Edit>& log = pools.layer().group().log();
  ASSERT_EQ(log.size(), 3u);
  EXPECT_EQ(log[0].source_id, 1);
  EXPECT_EQ(log[0].new_id, 2);
  EXPECT_EQ(log[0].note.values.size(), 2u);  // there was no probe
  EXPECT_EQ(log[1].kind, RowChange::Kind::remove);
  EXPECT_EQ(log[1].source_id, 2);
  EXPECT_EQ(log[1].note.values, (std::vector<std::pair<std::string, double>>{{"gain", -0.25}}));
  EXPECT_EQ(log[2].source_id, 0);
  EXPECT_EQ(log[2].new_id, 3);
  EXPECT_EQ(log[2].note.step, 2);
  EXPECT_EQ(log[2].note.policy, "mass");
  ASSERT_EQ(log[2].note.values.size(), 3u);
  EXPECT_EQ(log[2].note.values[0].first, "p_value");
  EXPECT_EQ(log[2].note.values[0].second, events[1].p_value);
  EXPECT_EQ(log[2].note.values[1].first, "cosine");
  EXPECT_EQ(log[2].note.values[2], (std::pair<std::string, double>{"gain", -0.25}));
}

TEST(MassController, MonitoringIsThePhaseOnly) {
  MassOptions options = cosine_decides(MassPreset::reference);
  options.phase_begin = 2;
  options.phase_end = 5;
  FakePools pools(options, 2);
  const int64_t bytes = storage_stats().growable_bytes;
  EXPECT_EQ(pools.drift({{0}}), Texts{});
  EXPECT_EQ(pools.drift({{0}}), Texts{});
  EXPECT_EQ(pools.drift({{0}}), Texts{});  // the first observation
  EXPECT_NE(pools.controller().detector(0), nullptr);
  EXPECT_GT(storage_stats().growable_bytes, bytes);
  EXPECT_EQ(pools.drift({{}}), Texts{});
  EXPECT_EQ(pools.drift({{0}}), Texts{"expand 0>2"});  // step 4, the last one
  EXPECT_EQ(pools.controller().detector(0), nullptr);
  pools.layer().group().remove(2);
  EXPECT_EQ(storage_stats().growable_bytes, bytes);  // the windows are given back
  const int64_t requests = storage_stats().system_requests;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(pools.drift({{0}}), Texts{});
  EXPECT_EQ(storage_stats().system_requests, requests);
}

TEST(MassController, AFailedStepLeavesItsStateAlone) {
  FakePools pools(cosine_decides(MassPreset::paper), 2);
  pools.drift({{}});
  pools.drift({{1}});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(pools.drift({{0}}, {nan}), Error);
  EXPECT_THROW(pools.advance({{{0, {.norm = nan}}}}), Error);
  EXPECT_EQ(pools.layer().experts(), 3);
  EXPECT_EQ(pools.controller().state(0).patience, 3);
  EXPECT_EQ(pools.controller().state(0).expansions, 1);
}

TEST(MassController, RestoreTakesALayersState) {
  FakePools pools(cosine_decides(MassPreset::paper), 3);
  pools.controller().restore(0, {true, 1, 2}, {{0, 2}});
  EXPECT_TRUE(pools.controller().state(0).stopped);
  EXPECT_EQ(pools.controller().state(0).patience, 1);
  EXPECT_EQ(pools.controller().pairs(0), (Pairs{{0, 2}}));
  EXPECT_THROW(pools.controller().restore(0, {false, 1, 1}, {{0, 7}}), Error);
  EXPECT_TRUE(pools.controller().state(0).stopped);
}

TEST(MassController, RefusesWhatCannotBe) {
  const MassOptions options = cosine_decides(MassPreset::paper);
  EXPECT_THROW(MassController({}, options), Error);
  MassOptions bad = options;
  bad.max_experts = 2;
  EXPECT_THROW(FakePools(bad, 3), Error);
  bad = options;
  bad.preserve_function = true;
  EXPECT_THROW(FakePools(bad, 3), Error);
  EXPECT_NO_THROW(FakePools(bad, 3, 1, true));
  bad = options;
  bad.alpha = 2;
  EXPECT_THROW(FakePools(bad, 3), Error);
}

}  // namespace
}  // namespace offshoot
