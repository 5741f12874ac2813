#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <sstream>

#include "tests/tools/html_faults.h"
#include "tests/tools/study_demo.h"
#include "tools/hmm/study/findings.h"
#include "tools/hmm/study/page.h"
#include "tools/hmm/study/tables.h"
#include "tools/support/display.h"

namespace offshoot {
namespace {

using testing::demo_study;
using testing::holds;
using testing::holds_unfinite_number;
using testing::tag_faults;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const std::array<std::string, 6> kStudies = {"paper", "ablate",   "drift",
                                             "noise", "overhead", "need"};

void expect_whole(const std::string& page, const std::string& which) {
  EXPECT_EQ(tag_faults(page), "") << which;
  EXPECT_FALSE(holds_unfinite_number(page)) << which;
  for (const std::string_view fetched : {"http:", "https:", "<script", "@import", "url("}) {
    EXPECT_FALSE(holds(page, fetched)) << which << " " << fetched;
  }
}

void expect_narrow(const StudyResults& results) {
  for (const int width : {80, 100, 160}) {
    std::istringstream table(study_table(results, Terminal(true, false, width)));
    for (std::string line; std::getline(table, line);) {
      EXPECT_LE(columns_of(line), width) << line;
      EXPECT_EQ(line, displayable(line));
    }
  }
  // A pipe gets all of it.
  const std::string whole = study_table(results, Terminal(false, false, 80));
  EXPECT_FALSE(holds(whole, "More columns"));
}

int64_t count(const std::string& page, std::string_view text) {
  int64_t found = 0;
  for (size_t at = page.find(text); at != std::string::npos; at = page.find(text, at + 1)) ++found;
  return found;
}

TEST(StudyPage, EveryStudyIsBalancedAndStandsAlone) {
  for (const std::string& study : kStudies) {
    for (const int64_t seeds : {1, 2, 5}) {
      const StudyResults results = demo_study(study, seeds);
      const std::string page = study_page(results);
      expect_whole(page, fmt::format("{} {}", study, seeds));
      EXPECT_GE(count(page, "<figure>"), 2) << study;
      EXPECT_EQ(count(page, "<figure>"), count(page, "<svg ")) << study;
      EXPECT_LT(page.size(), 400'000u) << study;
      expect_narrow(results);
    }
  }
}

TEST(StudyPage, HostileTextsAreEscaped) {
  const std::string hostile = "<script>alert(\"1\" & '2')</script>\x1b[31m\xe2\x80\xae";
  for (const std::string& study : kStudies) {
    StudyResults results = demo_study(study, 2);
    results.title = results.question = results.command = results.engine_version = hostile;
    for (StudyCell& cell : results.cells) {
      cell.label = hostile + cell.label;
      cell.family = hostile;
    }
    const std::string page = study_page(results);
    expect_whole(page, study);
    EXPECT_TRUE(holds(page, "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)"));
    expect_narrow(results);
  }
}

TEST(StudyPage, MissingCellsAndRunsLeaveGaps) {
  for (const std::string& study : kStudies) {
    StudyResults results = demo_study(study, 2);
    // Some one cell alone.
    for (size_t i = 0; i < results.cells.size(); i += 7) {
      const StudyCell& cell = results.cells[i];
      StudyResults one = results;
      one.cells = {cell};
      expect_whole(study_page(one), study + " " + cell.name);
      findings_of(one);
      expect_narrow(one);
    }
    StudyResults none = results;
    for (StudyCell& cell : none.cells) {
      cell.runs.clear();
      cell.estimates.clear();
    }
    none.comparisons.clear();
    expect_whole(study_page(none), study + " without runs");
    none.cells.clear();
    none.seeds.clear();
    expect_whole(study_page(none), study + " without cells");
    expect_narrow(none);
  }
}

TEST(StudyPage, ValuesThatWereNotMeasuredAreDashes) {
  for (const std::string& study : kStudies) {
    StudyResults results = demo_study(study, 3);
    const std::string whole = study_page(results);
    // Every measure of every second cell is missing.
    for (size_t i = 0; i < results.cells.size(); i += 2) {
      for (StudyRun& run : results.cells[i].runs) {
        for (auto& [name, value] : run.measures) value = kNaN;
        for (auto& [name, curve] : run.curves) {
          for (auto& [x, y] : curve) y = kNaN;
        }
      }
    }
    results.comparisons.clear();
    estimate_all(results);
    const std::string page = study_page(results);
    expect_whole(page, study);
    EXPECT_LT(count(page, "<circle"), count(whole, "<circle") + 1) << study;
    EXPECT_GT(count(page, "<td class=\"\">\u2013</td>"), 0) << study;
  }
}

TEST(StudyPage, SaysWhatIsLargerThanTheNoise) {
  const StudyResults results = demo_study("ablate");
  const std::string page = study_page(results);
  const size_t larger = page.find("<p class=\"list-title\">Larger than the noise");
  const size_t rest = page.find("<p class=\"list-title\">Not larger than the noise");
  ASSERT_NE(larger, std::string::npos);
  ASSERT_NE(rest, std::string::npos);
  const auto listed = [&](const std::string& label) {
    return page.find("<li>" + escape_html(label) + ": ", larger);
  };
  for (const StudyComparison& comparison : results.comparisons) {
    if (comparison.measure != "test_loss") continue;
    const size_t at = listed(results.find(comparison.cell)->label);
    EXPECT_EQ(at < rest, differs_from_zero(comparison.difference)) << comparison.cell;
  }
  // With one seed there are no intervals, and no such lists.
  EXPECT_FALSE(holds(study_page(demo_study("ablate", 1)), "list-title\">"));
}

TEST(StudyPage, AClaimThatIsNotJudgedIsNoOpenQuestion) {
  const std::string paper = study_page(demo_study("paper", 3));
  EXPECT_TRUE(holds(paper, "Not judged"));
  EXPECT_FALSE(holds(paper, "Open question"));
  EXPECT_TRUE(holds(study_page(demo_study("noise", 3)), "Open question"));
}

TEST(StudyPage, AQuickRunSaysSo) {
  StudyResults results = demo_study("need", 2);
  EXPECT_FALSE(holds(study_page(results), "A quick run"));
  results.quick = true;
  EXPECT_TRUE(holds(study_page(results), "A quick run"));
}

TEST(StudyTable, HasTheDifferenceAndThePapersFigures) {
  const StudyResults results = demo_study("paper");
  const std::string table = study_table(results, Terminal(false, false, 80));
  const StudyCell* dynmoe = results.find("dynmoe-off");
  std::string loss = estimate_text(dynmoe->estimates.at("test_loss"), 4);
  loss.erase(loss.find(' '), 1);
  const size_t line = table.find("temperature off");
  ASSERT_NE(line, std::string::npos);
  const std::string row = table.substr(line, table.find('\n', line) - line);
  EXPECT_TRUE(holds(row, loss)) << row;
  EXPECT_TRUE(holds(row, "* ")) << row;
  EXPECT_TRUE(holds(table, "the paper: test loss 2.18, k 4.7"));
  EXPECT_TRUE(holds(table, "the paper: test loss 2.15, K 12.4, k 3.9"));
  const std::string page = study_page(results);
  for (const std::string_view title :
       {"Paper: loss / K / k", "Difference", "JSD entity", "JSD property", "Seeds"}) {
    EXPECT_TRUE(holds(page, title)) << title;
  }
}

// A table's rows of cells, in text.
std::vector<std::string> rows_of(const StudyResults& results) {
  std::istringstream table(study_table(results, Terminal(false, false, 80)));
  std::vector<std::string> rows;
  for (std::string line; std::getline(table, line);) {
    const bool of_cell =
        line.starts_with("  ") && !holds(line, "the paper:") && !holds(line, " seeds ");
    if (of_cell) rows.push_back(line);
  }
  return rows;
}

TEST(StudyTable, EveryRowHasItsSeedsAndItsIntervals) {
  for (const std::string study : {"paper", "ablate", "drift", "noise", "overhead", "need"}) {
    const StudyResults results = demo_study(study, 3);
    const std::string text = study_table(results, Terminal(false, false, 80));
    EXPECT_TRUE(holds(text, " seeds ")) << study;
    EXPECT_TRUE(holds(text, "95% interval, Student's t")) << study;
    int64_t with_interval = 0;
    for (const std::string& row : rows_of(results)) with_interval += holds(row, "±") ? 1 : 0;
    EXPECT_GE(with_interval,
              std::ranges::count_if(results.cells,
                                    [](const StudyCell& cell) { return !cell.runs.empty(); }))
        << study;
    const std::string page = study_page(results);
    EXPECT_TRUE(holds(page, "<th scope=\"col\">Seeds</th>")) << study;
    // Every number in the page's table but counts of seeds has its interval.
    const size_t body = page.find("<tbody>");
    for (size_t at = page.find("<td class=\"\">", body); at != std::string::npos;
         at = page.find("<td class=\"\">", at + 1)) {
      const size_t from = at + 13;
      const std::string cell = page.substr(from, page.find('<', from) - from);
      const bool number = cell.find_first_of(".") != std::string::npos && !holds(cell, " / ");
      EXPECT_TRUE(!number || holds(cell, "±")) << study << " " << cell;
    }
    // One seed has none, and says so.
    const std::string one = study_table(demo_study(study, 1), Terminal(false, false, 80));
    EXPECT_FALSE(holds(one, "±")) << study;
    EXPECT_TRUE(holds(one, "One seed: no intervals.")) << study;
  }
}

TEST(StudyTable, AFigureOfFewerSeedsSaysSo) {
  StudyResults results = demo_study("overhead", 3);
  results.cells[0].runs[1].measures["edit_each_us"] = kNaN;
  estimate_all(results);
  EXPECT_TRUE(holds(study_table(results, Terminal(false, false, 80)), " (2)"));
  EXPECT_TRUE(holds(study_page(results), " (2)</td>"));
  EXPECT_FALSE(holds(study_page(demo_study("overhead", 3)), " (2)</td>"));
}

TEST(StudyTable, DriftIsComparedWithinItsRegime) {
  const StudyResults results = demo_study("drift", 3);
  const std::string page = study_page(results);
  EXPECT_EQ(count(page, "<tr class=\"ours\">"), 2 * 3);
  EXPECT_TRUE(holds(page, "against the reference row of each block (blue)"));
  EXPECT_TRUE(holds(study_table(results, Terminal(false, false, 80)),
                    "against the reference row of each block."));
  // Nothing joins a control's data.
  EXPECT_EQ(count(page, ">stage 2<"), 2 * 2 * 4);
}

TEST(StudyTable, TheLargestPoolTriedIsACeiling) {
  const StudyResults results = demo_study("need", 3);
  EXPECT_EQ(experts_needed_text(results, *results.find("C10-needed")), "20 or more");
  EXPECT_EQ(experts_needed_text(results, *results.find("C1-needed")), "8");
  EXPECT_EQ(experts_needed_text(results, *results.find("C1-dynmoe")), "");
  EXPECT_TRUE(holds(study_page(results), "20 or more</td>"));
}

TEST(StudyTable, RatiosAreTakenRunByRun) {
  StudyCell cell;
  for (const double part : {1., 2., 6.}) {
    StudyRun run;
    run.measures = {{"part", part}, {"whole", 2 * part * part}};
    cell.runs.push_back(run);
  }
  EXPECT_NEAR(ratio_of(cell, "part", "whole", 6).mean, (3 + 1.5 + 0.5) / 3, 1e-12);
  EXPECT_NEAR(ratio_of(cell, "part", "", 2).mean, 6, 1e-12);
  EXPECT_EQ(ratio_of(cell, "other", "whole").n, 0);
}

TEST(StudyTable, TextsOfEstimates) {
  EXPECT_EQ(estimate_text({5, 1.88641, 0.0031, 1.88, 1.9}, 4), "1.8864 ±0.0100");
  EXPECT_EQ(estimate_text({1, 2, kNaN, kNaN, kNaN}, 2), "2.00");
  EXPECT_EQ(estimate_text({0, kNaN, kNaN, kNaN, kNaN}, 2), kMissing);
  EXPECT_EQ(estimate_text({3, 2366.4, 5.8, 2342, 2390.8}, 0), "2,366 ±24");
  // Two seeds may tell next to nothing.
  EXPECT_EQ(estimate_text({2, 10.5, 99, -1247.4, 1268.4}, 1), "10.5 ±1,258");
  EXPECT_EQ(interval_text({3, -0.5, 0.1, -1, 0.25}, 2, true), "\u22120.50 [\u22121.00, +0.25]");
  EXPECT_EQ(interval_text({1, 0.5, kNaN, kNaN, kNaN}, 1, true), "+0.5");
}

}  // namespace
}  // namespace offshoot
