#include "mass/options.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "engine/error.h"

namespace offshoot {
namespace {

TEST(MassOptions, ReferencePreset) {
  const MassOptions options = mass_options(MassPreset::reference, 2000);
  EXPECT_EQ(options.preset, MassPreset::reference);
  EXPECT_EQ(options.phase_begin, 0);
  EXPECT_EQ(options.phase_end, 200);
  EXPECT_EQ(options.warmup, 100);
  EXPECT_EQ(options.window, 180);
  EXPECT_EQ(options.alpha, 0.01);
  EXPECT_EQ(options.delta, 0.001);
  EXPECT_EQ(options.patience, 3);
  EXPECT_EQ(options.min_expansions, 1);
  EXPECT_EQ(options.redundancy_weight, 0.01);
  EXPECT_EQ(options.decomposition, Decomposition::reference);
  EXPECT_EQ(options.newborn, NewbornState::reference);
  EXPECT_TRUE(options.fc1_norm_only);
  EXPECT_TRUE(options.observe_idle);
  EXPECT_TRUE(options.constant_is_invalid);
  EXPECT_FALSE(options.zero_is_aligned);
  EXPECT_FALSE(options.patience_returns);
  EXPECT_FALSE(options.probe_before_change);
  EXPECT_FALSE(options.probe_same_dropout);
  EXPECT_TRUE(options.stop_removes_last);
  EXPECT_FALSE(options.redundancy_mean);
  EXPECT_FALSE(options.redundancy_always);
}

TEST(MassOptions, PaperPreset) {
  const MassOptions options = mass_options(MassPreset::paper, 2000);
  EXPECT_EQ(options.preset, MassPreset::paper);
  EXPECT_EQ(options.phase_end, 200);
  EXPECT_EQ(options.warmup, 100);
  EXPECT_EQ(options.window, 180);
  EXPECT_EQ(options.min_expansions, 0);
  EXPECT_EQ(options.decomposition, Decomposition::paper);
  EXPECT_EQ(options.newborn, NewbornState::inherit);
  EXPECT_FALSE(options.fc1_norm_only);
  EXPECT_FALSE(options.observe_idle);
  EXPECT_FALSE(options.constant_is_invalid);
  EXPECT_TRUE(options.zero_is_aligned);
  EXPECT_TRUE(options.patience_returns);
  EXPECT_TRUE(options.probe_before_change);
  EXPECT_TRUE(options.probe_same_dropout);
  EXPECT_FALSE(options.stop_removes_last);
  EXPECT_TRUE(options.redundancy_mean);
  EXPECT_TRUE(options.redundancy_always);
}

TEST(MassOptions, VariantsAreOffInBothPresets) {
  for (const MassPreset preset : {MassPreset::paper, MassPreset::reference}) {
    const MassOptions options = mass_options(preset, 100);
    EXPECT_FALSE(options.preserve_function);
    EXPECT_FALSE(options.scale_delta_by_dim);
    EXPECT_FALSE(options.relative_norm);
    EXPECT_FALSE(options.full_z_window);
    EXPECT_TRUE(options.change_point);
    EXPECT_TRUE(options.alignment);
    EXPECT_TRUE(options.stopping);
    EXPECT_NO_THROW(check(options));
  }
}

TEST(MassOptions, ShortRunsHaveFloorsAndRoundDown) {
  const MassOptions brief = mass_options(MassPreset::reference, 199);
  EXPECT_EQ(brief.phase_end, 19);
  EXPECT_EQ(brief.warmup, 30);
  EXPECT_EQ(brief.window, 60);
  const MassOptions longer = mass_options(MassPreset::reference, 1999);
  EXPECT_EQ(longer.phase_end, 199);
  EXPECT_EQ(longer.warmup, 99);
  EXPECT_EQ(longer.window, 179);
}

TEST(MassOptions, CheckNamesTheOptionThatCannotBe) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<std::string, std::function<void(MassOptions&)>>> cases = {
      {"phase", [](MassOptions& o) { o.phase_begin = -1; }},
      {"phase", [](MassOptions& o) { o.phase_begin = o.phase_end + 1; }},
      {"max_experts", [](MassOptions& o) { o.max_experts = 0; }},
      {"warmup", [](MassOptions& o) { o.warmup = 0; }},
      {"window", [](MassOptions& o) { o.window = 1; }},
      {"patience", [](MassOptions& o) { o.patience = -1; }},
      {"min_expansions", [](MassOptions& o) { o.min_expansions = -1; }},
      {"alpha", [](MassOptions& o) { o.alpha = 0; }},
      {"alpha", [](MassOptions& o) { o.alpha = 1.5; }},
      {"alpha", [nan](MassOptions& o) { o.alpha = nan; }},
      {"delta", [](MassOptions& o) { o.delta = 0; }},
      {"delta", [inf](MassOptions& o) { o.delta = inf; }},
      {"redundancy_weight", [](MassOptions& o) { o.redundancy_weight = -0.1; }},
      {"redundancy_weight", [nan](MassOptions& o) { o.redundancy_weight = nan; }},
  };
  for (const auto& [name, spoil] : cases) {
    MassOptions options = mass_options(MassPreset::reference, 1000);
    spoil(options);
    try {
      check(options);
      ADD_FAILURE() << name << ": no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(name + ": got"), std::string::npos) << error.what();
    }
  }
}

TEST(MassOptions, NamesReadBack) {
  for (const MassPreset preset : {MassPreset::paper, MassPreset::reference}) {
    EXPECT_EQ(parse_mass_preset(to_string(preset)), preset);
  }
  for (const auto decomposition : {Decomposition::paper, Decomposition::reference,
                                   Decomposition::clone, Decomposition::project_whole}) {
    EXPECT_EQ(parse_decomposition(to_string(decomposition)), decomposition);
  }
  EXPECT_THROW((void)parse_mass_preset("Paper"), Error);
  EXPECT_THROW((void)parse_decomposition(""), Error);
}

}  // namespace
}  // namespace offshoot
