#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/error.h"
#include "tests/tools/study_demo.h"
#include "tools/hmm/study/results.h"

namespace offshoot {
namespace {

using testing::demo_study;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::string dump(const StudyResults& results) { return to_json(results).dump(1); }

// Two cells with the losses 2, 3, 5 and 1, 1, 1 of the seeds 0, 1, 2.
StudyResults small() {
  StudyResults results;
  results.study = "paper";
  results.title = "Small";
  results.seeds = {0, 1, 2};
  for (const auto& [name, losses] :
       {std::pair("a", std::vector<double>{2, 3, 5}), {"b", {1, 1, 1}}}) {
    StudyCell cell;
    cell.name = cell.label = cell.family = name;
    for (int64_t seed = 0; seed < 3; ++seed) {
      StudyRun run;
      run.seed = seed;
      run.measures["test_loss"] = losses[static_cast<size_t>(seed)];
      cell.runs.push_back(run);
    }
    results.cells.push_back(cell);
  }
  return results;
}

TEST(StudyResults, EveryStudySurvivesJson) {
  for (const std::string study : {"paper", "ablate", "drift", "noise", "overhead", "need"}) {
    const StudyResults results = demo_study(study, 2);
    const std::string text = dump(results);
    const StudyResults back = study_results_from_json(Json::parse(text));
    EXPECT_EQ(dump(back), text) << study;
    EXPECT_EQ(text, dump(demo_study(study, 2))) << study;
    EXPECT_EQ(back.question, results.question);
    EXPECT_EQ(back.cells.size(), results.cells.size());
    EXPECT_EQ(back.comparisons.size(), results.comparisons.size());
  }
}

TEST(StudyResults, NothingOfARunIsLost) {
  StudyResults results = small();
  StudyRun& run = results.cells[0].runs[1];
  run.initial_experts = 8;
  run.experts = {{0, 8}, {271, 9}};
  run.events = {{GrowthEvent::Kind::expand, 270, "blocks.0.moe", 3, 8, 1e-5, -2e-4, kNaN, 9}};
  run.measures["flops_per_token"] = 1.0 / 3;
  run.curves["loss_stage_1"] = {{0, 3.9}, {50, kNaN}};
  results.cells[0].flags = {"--topk", "2"};
  results.cells[0].numbers = {{"experts", 10}};
  results.cells[0].published = {{"test_loss", 2.15}};
  results.quick = true;
  const StudyResults back = study_results_from_json(Json::parse(dump(results)));
  const StudyRun& read = back.cells[0].runs[1];
  EXPECT_EQ(read.seed, 1);
  EXPECT_EQ(read.initial_experts, 8);
  EXPECT_EQ(read.experts, run.experts);
  ASSERT_EQ(read.events.size(), 1u);
  EXPECT_EQ(read.events[0].created, 8);
  EXPECT_EQ(read.events[0].cosine, -2e-4);
  EXPECT_TRUE(std::isnan(read.events[0].gain));
  EXPECT_EQ(read.measure("flops_per_token"), 1.0 / 3);
  EXPECT_EQ(read.curves.at("loss_stage_1")[0].second, 3.9);
  EXPECT_TRUE(std::isnan(read.curves.at("loss_stage_1")[1].second));
  EXPECT_EQ(back.cells[0].flags, results.cells[0].flags);
  EXPECT_EQ(back.cells[0].numbers, results.cells[0].numbers);
  EXPECT_EQ(back.cells[0].published, results.cells[0].published);
  EXPECT_TRUE(back.quick);
}

TEST(StudyResults, WhatIsNotFiniteIsNullAndReadsAsNaN) {
  StudyResults results = small();
  results.cells[0].runs[0].measures["test_loss"] = kNaN;
  results.cells[0].runs[1].measures["test_loss"] = 1 / 0.0;
  results.cells[0].runs[2].measures.clear();
  estimate_all(results);
  const Json json = Json::parse(dump(results));
  EXPECT_TRUE(json.at("cells", 0, "runs", 0, "measures", "test_loss").is_null());
  EXPECT_TRUE(json.at("cells", 0, "runs", 1, "measures", "test_loss").is_null());
  EXPECT_TRUE(json.at("cells", 0, "estimates", "test_loss", "mean").is_null());
  const StudyResults back = study_results_from_json(json);
  EXPECT_TRUE(std::isnan(back.cells[0].runs[1].measure("test_loss")));
  EXPECT_TRUE(std::isnan(back.cells[0].runs[2].measure("test_loss")));
  EXPECT_EQ(back.cells[0].estimates.at("test_loss").n, 0);
}

TEST(StudyResults, ComparesSeedBySeed) {
  StudyResults results = small();
  compare_all(results, "test_loss", "b");
  ASSERT_EQ(results.comparisons.size(), 1u);
  const StudyComparison* found = results.compared("test_loss", "a");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->against, "b");
  EXPECT_EQ(found->difference.n, 3);
  EXPECT_NEAR(found->difference.mean, (1 + 2 + 4) / 3.0, 1e-12);
  EXPECT_EQ(results.compared("test_loss", "b"), nullptr);
  EXPECT_EQ(results.compared("experts", "a"), nullptr);
  // Only seeds that both have, in whatever order they stand.
  results.cells[1].runs.erase(results.cells[1].runs.begin());
  std::swap(results.cells[1].runs[0], results.cells[1].runs[1]);
  results.cells[1].runs[0].measures["test_loss"] = 0;  // seed 2
  const Estimate fewer = cell_difference(results.cells[0], results.cells[1], "test_loss");
  EXPECT_EQ(fewer.n, 2);
  EXPECT_DOUBLE_EQ(fewer.mean, ((3 - 1) + (5 - 0)) / 2.0);
  // Nothing to compare with, as where only some cells were run.
  compare_all(results, "test_loss", "c");
  EXPECT_EQ(results.comparisons.size(), 1u);
}

TEST(StudyResults, EstimatesEveryMeasureOfAnyRun) {
  StudyResults results = small();
  results.cells[0].runs[2].measures["experts"] = 9;
  estimate_all(results);
  EXPECT_EQ(results.cells[0].estimates.at("test_loss").n, 3);
  EXPECT_EQ(results.cells[0].estimates.at("experts").n, 1);
  EXPECT_EQ(results.cells[0].estimates.at("experts").mean, 9);
  EXPECT_EQ(results.cells[1].estimates.count("experts"), 0u);
  EXPECT_EQ(results.find("b"), &results.cells[1]);
  EXPECT_EQ(results.find("c"), nullptr);
}

std::string error_of(const Json& json) {
  try {
    study_results_from_json(json);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(StudyResults, WhatContradictsItselfIsRefused) {
  StudyResults twice = small(), stranger = small(), empty = small();
  twice.cells[1].name = "a";
  stranger.cells[1].runs[2].seed = 77;
  empty.cells.clear();
  for (const auto& [results, text] : {std::pair(&twice, "got a twice"),
                                      {&stranger, "b: got a run of seed 77"},
                                      {&empty, "none"}}) {
    try {
      study_results_from_json(to_json(*results));
      ADD_FAILURE() << "expected an error that says " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }
}

TEST(StudyResults, ErrorsNameTheMember) {
  const Json good = to_json(small());
  const auto without = [&](const std::string& key) {
    Json json = Json::object();
    for (const Json::Member& member : good.members()) {
      if (member.key != key) json[member.key] = member.value;
    }
    return json;
  };
  for (const Json::Member& member : good.members()) {
    EXPECT_NE(error_of(without(member.key)).find(member.key), std::string::npos) << member.key;
  }
  Json other = good;
  other["format"] = "something";
  EXPECT_EQ(error_of(other), "[study] format: got something, expected offshoot-study");
  other = good;
  other["format_version"] = 2;
  EXPECT_EQ(error_of(other), "[study] format_version: got 2, expected 1");
  other = good;
  other["cells"] = 3;
  EXPECT_NE(error_of(other), "");
}

}  // namespace
}  // namespace offshoot
