#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>

#include "engine/error.h"
#include "tests/tools/html_faults.h"
#include "tests/tools/study_demo.h"
#include "tools/hmm/study/findings.h"

namespace offshoot {
namespace {

using testing::demo_study;
using testing::holds;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// A study whose cells come to the given values, seed by seed.
class Made {
 public:
  explicit Made(std::string study) {
    results_.study = std::move(study);
    results_.steps = 3000;
    results_.seeds = {0, 1, 2};
  }

  // +-spread around the value, the same way for all cells of one sign.
  Made& cell(const std::string& name, const std::string& family,
             std::map<std::string, double> measures, double spread = 0.001, int sign = 1,
             std::map<std::string, double> numbers = {}) {
    StudyCell cell;
    cell.name = cell.label = name;
    cell.family = family;
    cell.numbers = std::move(numbers);
    for (int64_t seed = 0; seed < 3; ++seed) {
      StudyRun run;
      run.seed = seed;
      for (const auto& [measure, value] : measures) {
        run.measures[measure] = value + spread * static_cast<double>(sign * (seed - 1));
      }
      cell.runs.push_back(run);
    }
    results_.cells.push_back(cell);
    return *this;
  }

  StudyResults done(const std::string& against = "") {
    for (const char* measure : {"test_loss", "experts", "jsd_entity"}) {
      compare_all(results_, measure, against);
    }
    estimate_all(results_);
    return results_;
  }

  StudyResults results_;
};

Finding finding_about(const StudyResults& results, std::string_view question) {
  for (const Finding& finding : findings_of(results)) {
    if (finding.question.find(question) != std::string::npos) return finding;
  }
  ADD_FAILURE() << "no finding about " << question;
  return {};
}

StudyResults elbow(double at5, double at10, double at15, double at20, double spread) {
  Made made("paper");
  int sign = 1;
  for (const auto& [experts, loss] : {std::pair(5, at5), {10, at10}, {15, at15}, {20, at20}}) {
    made.cell(fmt::format("topk-K{}-k2", experts), "top-2", {{"test_loss", loss}}, spread, sign,
              {{"experts", experts}, {"topk", 2}});
    sign = -sign;
  }
  return made.done();
}

TEST(StudyFindings, TheElbowIsWhereTheCurveBends) {
  const auto expect = [](const StudyResults& results, Verdict verdict, std::string_view said) {
    const Finding finding = finding_about(results, "elbow");
    EXPECT_EQ(finding.verdict, verdict) << said;
    EXPECT_TRUE(holds(finding.text, said)) << finding.text;
  };
  expect(elbow(2.0, 1.9, 1.89, 1.88, 1e-4), Verdict::fails, "at 10, not at 15.");
  expect(elbow(2.0, 1.9, 1.86, 1.85, 1e-4), Verdict::fails, "at both, and more at 10.");
  expect(elbow(2.0, 1.95, 1.88, 1.875, 1e-4), Verdict::holds, "at 15, and more than at 10.");
  expect(elbow(2.0, 1.95, 1.94, 1.90, 1e-4), Verdict::fails, "falls faster behind 15");
  expect(elbow(2.0, 1.95, 1.93, 1.92, 0.05), Verdict::unclear, "No bend");
  // A straight line bends nowhere.
  expect(elbow(2.0, 1.9, 1.8, 1.7, 1e-4), Verdict::unclear, "No bend");
  // Surely less bent at 15 than at 10, but at neither surely bent.
  StudyResults results = elbow(2, 2, 2, 2, 0);
  for (size_t seed = 0; seed < 3; ++seed) {
    const double bend = 0.01 * static_cast<double>(seed);
    results.cells[0].runs[seed].measures["test_loss"] = 2 + bend;
    results.cells[3].runs[seed].measures["test_loss"] = 2 + bend - 0.015;
  }
  expect(results, Verdict::unclear, "No bend");
}

StudyResults rivals(double mass, double dynmoe, double experts, double spread) {
  return Made("paper")
      .cell("mass-reference-p0.9-Kinit8", "MASS",
            {{"test_loss", mass}, {"experts", experts}, {"active_experts", 3.9}}, spread, 1)
      .cell("dynmoe-off", "DynMoE", {{"test_loss", dynmoe}, {"active_experts", 4.5}}, spread, -1)
      .done("mass-reference-p0.9-Kinit8");
}

TEST(StudyFindings, MassIsBetterThanDynMoEOrNotOrIsNotToldApart) {
  const auto verdict = [](double mass, double dynmoe, double spread) {
    return finding_about(rivals(mass, dynmoe, 10, spread), "lower loss than DynMoE").verdict;
  };
  EXPECT_EQ(verdict(1.88, 1.93, 0.001), Verdict::holds);
  EXPECT_EQ(verdict(1.93, 1.88, 0.001), Verdict::fails);
  EXPECT_EQ(verdict(1.88, 1.93, 0.1), Verdict::unclear);
}

// Pools of equal routing that are best at 15, beside what MASS comes to.
StudyResults beside_pools(double experts, double loss, double spread_of_loss = 1e-4) {
  Made made("paper");
  made.cell("mass-reference-p0.9-Kinit8", "MASS", {{"test_loss", loss}}, spread_of_loss, 1);
  for (const auto& [size, its] : {std::pair(5, 1.95), {10, 1.91}, {15, 1.88}, {20, 1.89}}) {
    made.cell(fmt::format("topp-K{}", size), "top-p", {{"test_loss", its}}, 1e-4, -1,
              {{"experts", size}});
  }
  // A pool that routes otherwise is no top-k pool, however good.
  made.cell("gmoe-K5", "GMoE", {{"test_loss", 1.5}}, 1e-4, 1, {{"experts", 5}, {"topk", 2}});
  for (StudyRun& run : made.results_.cells[0].runs) {
    run.measures["experts"] = experts + 0.1 * static_cast<double>(run.seed - 1);
  }
  return made.done();
}

TEST(StudyFindings, NearTheBestSizeIsWithinThreeAndNotWorse) {
  const auto of = [](const StudyResults& results) {
    return finding_about(results, "without a search");
  };
  EXPECT_EQ(of(beside_pools(14, 1.885)).verdict, Verdict::holds);
  EXPECT_EQ(of(beside_pools(14, 1.7)).verdict, Verdict::holds);  // better is near enough
  EXPECT_EQ(of(beside_pools(8, 1.885)).verdict, Verdict::fails);
  EXPECT_EQ(of(beside_pools(12, 1.885)).verdict, Verdict::unclear);
  EXPECT_EQ(of(beside_pools(14, 1.9)).verdict, Verdict::fails);
  EXPECT_EQ(of(beside_pools(14, 1.885, 0.02)).verdict, Verdict::unclear);
  const Finding near = of(beside_pools(14, 1.885));
  EXPECT_TRUE(holds(near.text, "Of our 4 fixed top-k and top-p pools \u201ctopp-K15\u201d"));
  EXPECT_TRUE(holds(near.text, "which flatters it"));
  EXPECT_EQ(std::ranges::count_if(near.items,
                                  [](const std::string& item) {
                                    return holds(item, "Loss minus that of \u201ctopp-K");
                                  }),
            4);
  EXPECT_TRUE(std::ranges::find(near.items, "K is within 3 of the paper's elbow, 15") !=
              near.items.end());
  // Where pools of 5 and 15 are not told apart, to be near one of them says nothing.
  StudyResults alike = beside_pools(14, 1.885);
  for (StudyRun& run : alike.cells[1].runs) run.measures["test_loss"] = 1.8801;
  EXPECT_EQ(of(alike).verdict, Verdict::unclear);
  // Without pools nothing is known of a best size.
  EXPECT_EQ(of(rivals(1.9, 1.95, 15, 0.01)).verdict, Verdict::unclear);
}

TEST(StudyFindings, ThePapersLossIsNotJudgedAndWideIntervalsAreNoAgreement) {
  const auto of = [](double experts, double spread) {
    const StudyResults results =
        Made("paper")
            .cell("mass-reference-p0.9-Kinit8", "MASS",
                  {{"test_loss", 2.15}, {"experts", experts}, {"active_experts", 3.9}}, spread)
            .done();
    EXPECT_EQ(finding_about(results, "Test loss 2.15").verdict, Verdict::found);
    return finding_about(results, "K 12.4 and k 3.9");
  };
  EXPECT_EQ(of(12.4, 0.1).verdict, Verdict::holds);
  EXPECT_EQ(of(10, 0.1).verdict, Verdict::fails);
  EXPECT_EQ(of(12.4, 0.6).verdict, Verdict::unclear);  // k is too wide
  EXPECT_EQ(of(12.4, 2).verdict, Verdict::unclear);
  EXPECT_EQ(of(30, 2).verdict, Verdict::unclear);
  EXPECT_TRUE(holds(of(12.4, 2).text, "too wide an interval to judge"));
}

TEST(StudyFindings, OneSeedTellsNothingApart) {
  for (const std::string study : {"paper", "ablate"}) {
    for (const Finding& finding : findings_of(demo_study(study, 1))) {
      // But what a run did is a fact.
      if (finding.question.find("splits twice") != std::string::npos) continue;
      EXPECT_TRUE(finding.verdict == Verdict::unclear || finding.verdict == Verdict::found)
          << finding.question;
    }
  }
}

StudyResults ingredients(double change, double spread) {
  return Made("ablate")
      .cell("mass", "base", {{"test_loss", 1.9}}, spread, 1)
      .cell("no-lred", "ingredients", {{"test_loss", 1.9 + change}}, spread, -1)
      .cell("clone", "ingredients", {{"test_loss", 1.95}}, spread, 1)
      .done("mass");
}

TEST(StudyFindings, EveryIngredientMattersOnlyIfEachDoes) {
  const auto verdict = [](double change, double spread) {
    return finding_about(ingredients(change, spread), "Every ingredient").verdict;
  };
  EXPECT_EQ(verdict(0.05, 1e-4), Verdict::holds);
  EXPECT_EQ(verdict(-0.05, 1e-4), Verdict::fails);
  EXPECT_EQ(verdict(0, 1e-4), Verdict::fails);        // surely nothing
  EXPECT_EQ(verdict(0.001, 0.02), Verdict::unclear);  // may be anything
}

TEST(StudyFindings, SmallChangesLeaveRoutingOut) {
  StudyResults results = Made("ablate")
                             .cell("mass", "base", {{"test_loss", 1.9}}, 1e-4)
                             .cell("clone", "ingredients", {{"test_loss", 1.902}}, 1e-4)
                             .cell("top-2", "ingredients", {{"test_loss", 1.95}}, 1e-4)
                             .done("mass");
  EXPECT_EQ(finding_about(results, "less than 0.006").verdict, Verdict::holds);
  EXPECT_TRUE(holds(finding_about(results, "less than 0.006").text, "1 of 1 ingredients"));
  results.cells[2].name = results.comparisons[1].cell = "no-lred";
  EXPECT_EQ(finding_about(results, "less than 0.006").verdict, Verdict::fails);
}

TEST(StudyFindings, LeavingOutIsJudgedByTheWholeInterval) {
  const auto verdict = [](double change, double spread) {
    return finding_about(ingredients(change, spread), "Leaving out the redundancy loss").verdict;
  };
  EXPECT_EQ(verdict(0, 1e-4), Verdict::holds);
  EXPECT_EQ(verdict(0.005, 1e-4), Verdict::holds);  // not none, but little
  EXPECT_EQ(verdict(0.05, 1e-4), Verdict::fails);
  EXPECT_EQ(verdict(-0.05, 1e-4), Verdict::fails);
  EXPECT_EQ(verdict(0.009, 1e-3), Verdict::unclear);
  // What was measured is how runs end.
  EXPECT_TRUE(holds(finding_about(ingredients(0, 1e-4), "Leaving out the gradient decomp").text,
                    "at the end of training"));
}

TEST(StudyFindings, InheritedMomentsAreJudgedByHowRunsEnd) {
  const auto verdict = [](double jsd, double spread) {
    return finding_about(
               Made("ablate")
                   .cell("mass", "base", {{"test_loss", 1.9}, {"jsd_entity", 0.6}}, spread, 1)
                   .cell("newborn-inherit", "options", {{"test_loss", 1.9}, {"jsd_entity", jsd}},
                         spread, -1)
                   .done("mass"),
               "runs end less specialized")
        .verdict;
  };
  EXPECT_EQ(verdict(0.5, 0.001), Verdict::holds);
  EXPECT_EQ(verdict(0.7, 0.001), Verdict::fails);
  EXPECT_EQ(verdict(0.55, 0.1), Verdict::unclear);
}

// K with 1 and with 10 concepts.
StudyResults needs(double at1, double at10, double spread) {
  return Made("need")
      .cell("C1-mass-reference", "mass-reference", {{"experts", at1}}, spread, 1, {{"concepts", 1}})
      .cell("C10-mass-reference", "mass-reference", {{"experts", at10}}, spread, -1,
            {{"concepts", 10}})
      .cell("C10-topk-K20", "topk", {{"test_loss", 2}}, 0, 1, {{"concepts", 10}, {"experts", 20}})
      .cell("C10-needed", "needed", {}, 0, 1, {{"concepts", 10}, {"experts_needed", 20}})
      .done();
}

TEST(StudyFindings, KFollowsWhereItRisesAsTheConceptsDo) {
  const auto expect = [](const StudyResults& results, Verdict verdict, std::string_view said) {
    const Finding finding = finding_about(results, "follows the number of concepts");
    EXPECT_EQ(finding.verdict, verdict) << said;
    EXPECT_TRUE(holds(finding.text, said)) << finding.text;
  };
  expect(needs(4, 4.3, 0.3), Verdict::fails, "K does not follow");
  expect(needs(4, 6, 0.1), Verdict::fails, "by more than the noise, but by less than half");
  expect(needs(4, 12, 0.1), Verdict::holds, "K follows");
  expect(needs(4, 9, 0.5), Verdict::unclear, "whether by half");
  expect(needs(4, 8, 3), Verdict::unclear, "not told apart");
  expect(needs(8, 4, 0.1), Verdict::fails, "K falls");
  expect(needs(4, 8.5, 0), Verdict::holds,
         "From 1 concept to 10 concepts K changes by +4.5 [+4.5, +4.5], +0.50 [+0.50, +0.50] for "
         "each added concept.");
  const Finding sizes = finding_about(needs(4, 4, 0.1), "does the data need");
  ASSERT_EQ(sizes.items.size(), 1u);
  EXPECT_EQ(sizes.items[0], "20 or more experts for 10 concepts");
  EXPECT_TRUE(holds(sizes.text, "have no interval"));
}

TEST(StudyFindings, AnswersStandBesideTheControl) {
  const auto text = [](double replay, double none, double spread) {
    return finding_about(Made("drift")
                             .cell("mass-reference-replay", "replay",
                                   {{"answered", replay}, {"experts_stage_1", 8}}, spread, 1)
                             .cell("mass-reference-none", "none",
                                   {{"answered", none}, {"experts_stage_1", 8}}, spread, -1)
                             .done(),
                         "does growth answer")
        .text;
  };
  EXPECT_TRUE(holds(text(1, 0.5, 0.01), "Where nothing arrives, \u201cmass-reference-none\u201d"));
  EXPECT_TRUE(holds(text(1, 0.5, 0.01), "has a share higher by 0.50"));
  EXPECT_TRUE(holds(text(0.6, 0.5, 0.2), "not told apart from noise"));
  EXPECT_TRUE(holds(text(0.5, 0.5, 0), "makes one as often"));
  EXPECT_TRUE(holds(text(1, 0.5, 0.4), "makes one in 50.0% [0.0%, 100.0%] of as many stages"));
  StudyResults alone = demo_study("drift", 3);
  std::erase_if(alone.cells, [](const StudyCell& cell) { return cell.name.ends_with("-none"); });
  EXPECT_TRUE(holds(finding_about(alone, "does growth answer").text, "no run without arrivals"));
}

TEST(StudyFindings, ForgettingIsComparedWithinARegime) {
  const StudyResults results = demo_study("drift", 3);
  const std::string text = finding_about(results, "forgotten").text;
  for (const std::string_view regime : {"old concepts stay", "new concepts only"}) {
    const std::string fixed = fmt::format("That of \u201cfixed, {}\u201d", regime);
    const size_t at = text.find(fixed);
    ASSERT_NE(at, std::string::npos) << text;
    EXPECT_TRUE(holds(text.substr(at, text.find(". ", at) - at),
                      fmt::format("against \u201cmass-reference, {}\u201d", regime)));
  }
}

TEST(StudyFindings, CountsTheComparisonsThatAreNotCorrectedFor) {
  StudyResults results = ingredients(0.05, 1e-4);  // two losses, both apart
  results.cells[0].runs[0].measures["test_loss"] += 1e-5;
  results.comparisons.clear();
  compare_all(results, "test_loss", "mass");
  const std::string page = findings_markdown({results});
  EXPECT_TRUE(holds(page, "No correction for the number of comparisons is made"));
  EXPECT_TRUE(holds(page, "Of the 2 in the studies' results 2 leave 0 out; about 0 would"));
  // A run compared with itself is no comparison.
  results.comparisons[0].difference = estimate(std::array{0., 0., 0.});
  EXPECT_TRUE(holds(findings_markdown({results}), "Of the 1 in"));
  EXPECT_TRUE(holds(findings_markdown({demo_study("need", 3)}), "No correction"));
}

TEST(StudyFindings, SplitsAreCountedFromTheEvents) {
  StudyResults results = rivals(1.88, 1.93, 10, 0.001);
  EXPECT_EQ(finding_about(results, "splits twice").verdict, Verdict::fails);  // no Kinit: 10 > 0
  for (StudyRun& run : results.cells[0].runs) {
    run.initial_experts = 8;
    run.measures["experts"] = 10;
    run.events = {{GrowthEvent::Kind::expand, 280, "l", 1, 8, 0, 0, kNaN, 9},
                  {GrowthEvent::Kind::expand, 290, "l", 2, 9, 0, 0, kNaN, 10}};
  }
  EXPECT_EQ(finding_about(results, "splits twice").verdict, Verdict::holds);
  EXPECT_TRUE(holds(finding_about(results, "splits twice").text, "between 9.3% and 9.7%"));
  results.cells[0].runs[1].events[1].source = 8;  // the copy splits
  EXPECT_EQ(finding_about(results, "splits twice").verdict, Verdict::fails);
}

TEST(StudyFindings, AnySubsetOfStudiesMakesAPage) {
  std::vector<StudyResults> all;
  for (const std::string study : {"need", "paper", "ablate", "drift", "noise", "overhead"}) {
    all.push_back(demo_study(study, 3));
    const std::string one = findings_markdown({all.back()});
    EXPECT_TRUE(holds(one, fmt::format("| {} | `offshoot-hmm {}` |", study, study)));
    EXPECT_FALSE(testing::holds_unfinite_number(one));
    StudyResults few = all.back();
    few.cells.resize(2);
    findings_markdown({few});
  }
  const std::string page = findings_markdown(all);
  EXPECT_LT(page.find("| paper |"), page.find("| need |"));
  for (const std::string_view title :
       {"## The paper's claims", "## What an independent study", "## Open questions"}) {
    EXPECT_TRUE(holds(page, title)) << title;
  }
  EXPECT_FALSE(holds(findings_markdown({}), "##"));
  EXPECT_FALSE(holds(page, "Quick runs"));
  all[0].quick = true;
  EXPECT_TRUE(holds(findings_markdown(all), "need (quick)"));
  EXPECT_THROW(findings_of(StudyResults{}), Error);
}

TEST(StudyFindings, LabelsAreNoMarkup) {
  StudyResults results = demo_study("paper", 3);
  results.command = "a`b|c\n# d";
  for (StudyCell& cell : results.cells) cell.label = "*a*\n# <b> [c](d) | `e`" + cell.label;
  const std::string page = findings_markdown({results});
  EXPECT_TRUE(holds(page, "`a'b\\|c # d`"));
  EXPECT_TRUE(holds(page, "\\*a\\* \\# \\<b\\> "));
  EXPECT_FALSE(holds(page, "\n# <b>"));
}

}  // namespace
}  // namespace offshoot
