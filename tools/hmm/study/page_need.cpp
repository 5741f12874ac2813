// How many experts the data need, and how many each policy comes to.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "tools/hmm/study/page_parts.h"

namespace offshoot {
namespace {

// One curve a number of concepts: the excess over K.
void write_excess(Markup& page, const StudyResults& results) {
  static constexpr std::array<const char*, 6> kColours = {"c1", "c3", "c6", "c2", "c5", "c7"};
  static constexpr std::array<MarkShape, 3> kShapes = {MarkShape::kCircle, MarkShape::kSquare,
                                                       MarkShape::kDiamond};
  std::set<double> concepts;
  for (const StudyCell& cell : results.cells) {
    if (!finds_its_experts(cell)) concepts.insert(number_of(cell, "concepts"));
  }
  ScatterPlot plot;
  plot.description = "Loss above the floor over the number of experts, by number of concepts";
  plot.x_title = "experts K, given";
  plot.y_title = "Test loss above the exact floor, nats a token";
  plot.height = 430;
  plot.y_from_zero = true;
  size_t index = 0;
  std::set<double> experts;
  for (const double count : concepts) {
    if (!std::isfinite(count)) continue;
    ScatterSeries series{fmt::format("{} concept{}", count, count == 1 ? "" : "s"),
                         kColours[index % kColours.size()], kShapes[index % kShapes.size()], true};
    ++index;
    for (const StudyCell& cell : results.cells) {
      if (finds_its_experts(cell) || number_of(cell, "concepts") != count) continue;
      const double k = number_of(cell, "experts");
      ScatterPoint point = estimate_point(k, estimate_of(cell, "excess"));
      point.title =
          fmt::format("{}\n{}", cell.label, interval_text(estimate_of(cell, "excess"), 4, false));
      series.points.push_back(point);
      experts.insert(k);
    }
    std::ranges::stable_sort(series.points, {}, &ScatterPoint::x);
    plot.series.push_back(series);
  }
  if (y_range_of(plot).empty()) return;
  plot.x_ticks.assign(experts.begin(), experts.end());
  if (experts.size() > 2 && *experts.begin() > 0 && *experts.rbegin() / *experts.begin() >= 10) {
    plot.x_scale = Scale::kLog;
  }
  open_section(page, "How many experts do the data need?",
               "Mixtures of a fixed size on data of 1 to 10 concepts: where a curve turns level, "
               "more experts no longer help.");
  write_figure(page, scatter_plot(plot),
               fmt::format("Means over the seeds with 95% intervals{}. Each number of concepts has "
                           "a floor of its own, so the height of one curve over another says how "
                           "hard its data are for this model.",
                           plot.x_scale == Scale::kLog ? "; logarithmic axis of K" : ""));
  page.close();
}

// K by policy over the number of concepts, beside the K that the data need.
void write_chosen(Markup& page, const StudyResults& results) {
  ScatterPlot plot;
  plot.description = "Experts that each policy comes to, over the number of concepts";
  plot.x_title = "concepts in the data";
  plot.y_title = "Experts K";
  plot.height = 400;
  plot.y_from_zero = true;
  std::set<double> concepts;
  for (const StudyFamily& family : families_of(results)) {
    const bool needed = family.name == "needed";
    SeriesLook look = look_of(family.name);
    if (needed) look = {"K needed", "c8", MarkShape::kSquare};
    ScatterSeries runs{"", look.css, look.shape};
    runs.faint = true;
    ScatterSeries series{look.label, look.css, look.shape, true};
    series.filled = true;
    for (const StudyCell* cell : family.cells) {
      const double count = number_of(*cell, "concepts");
      if (needed) {
        series.points.push_back(
            {.x = count, .y = number_of(*cell, "experts_needed"), .title = cell->label});
      } else if (finds_its_experts(*cell)) {
        ScatterPoint point = estimate_point(count, estimate_of(*cell, "experts"));
        point.title = fmt::format("{}\nK {}", cell->label,
                                  interval_text(estimate_of(*cell, "experts"), 1, false));
        series.points.push_back(point);
        for (const StudyRun& run : cell->runs) {
          runs.points.push_back({.x = count, .y = run.measure("experts")});
        }
      } else {
        continue;
      }
      concepts.insert(count);
    }
    std::ranges::stable_sort(series.points, {}, &ScatterPoint::x);
    if (!runs.points.empty()) plot.series.push_back(runs);
    if (!series.points.empty()) plot.series.push_back(series);
  }
  if (y_range_of(plot).empty()) return;
  plot.x_ticks.assign(concepts.begin(), concepts.end());
  open_section(page, "Does K follow?");
  write_figure(
      page, scatter_plot(plot),
      "K at the end: means over the seeds with 95% intervals, single runs pale. K needed: "
      "the smallest fixed pool whose mean loss is within 0.01 nats of the best one\u2019s, "
      "without an interval; the largest pool tried is a ceiling, and the table then says "
      "\u201cor more\u201d. A policy that follows the data rises with that curve.");
  page.close();
}

}  // namespace

void write_need(Markup& page, const StudyResults& results) {
  write_excess(page, results);
  write_chosen(page, results);
}

}  // namespace offshoot
