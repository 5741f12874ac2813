// False and missed expansions over what makes gradients noisy.
#include <algorithm>
#include <cmath>
#include <tuple>

#include "tools/hmm/study/page_parts.h"

namespace offshoot {
namespace {

struct Asked {
  std::string measure;
  double shift;  // of the cells: 0 the data stay the same, 1 concepts arrive
  bool share;    // yes or no in each run: the mean is a share of runs
};

// Of yes or no in n runs Student's interval would be none when all agree: Wilson's (1927).
std::pair<double, double> share_interval(const Estimate& share) {
  constexpr double z = 1.959964;
  const auto n = static_cast<double>(share.n);
  const double middle = (share.mean + z * z / (2 * n)) / (1 + z * z / n);
  const double half =
      z / (1 + z * z / n) * std::sqrt(share.mean * (1 - share.mean) / n + z * z / (4 * n * n));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

void add_series(ScatterPlot& plot, const StudyFamily& family, const Asked& asked,
                ScatterSeries means) {
  ScatterSeries runs{"", means.css, means.shape};
  runs.faint = true;
  for (const StudyCell* cell : family.cells) {
    const double x = number_of(*cell, "value");
    const double shift = number_of(*cell, "shift");
    const Estimate found = estimate_of(*cell, asked.measure);
    if (!std::isfinite(x) || (std::isfinite(shift) ? shift : 0) != asked.shift) continue;
    if (found.n == 0) continue;
    ScatterPoint point{.x = x, .y = found.mean};
    if (asked.share) {
      std::tie(point.y_low, point.y_high) = share_interval(found);
    } else if (found.n > 1) {
      point.y_low = std::max(found.low, 0.0);  // nothing lies below 0
      point.y_high = found.high;
    }
    point.title = fmt::format("{}\n{}, {} runs", cell->label, number_text(found.mean, 2), found.n);
    means.points.push_back(point);
    for (const StudyRun& run : cell->runs) {
      runs.points.push_back({.x = x, .y = run.measure(asked.measure)});
    }
  }
  std::ranges::stable_sort(means.points, {}, &ScatterPoint::x);
  for (const ScatterPoint& point : means.points) plot.x_ticks.push_back(point.x);
  if (!asked.share) plot.series.push_back(runs);
  plot.series.push_back(means);
}

ScatterPlot noise_plot(const StudyFamily& family, std::string title) {
  ScatterPlot plot;
  plot.title = std::move(title);
  plot.x_title = family_title(family.name);
  plot.width = 329;
  plot.height = 240;
  plot.right_margin = 22;
  plot.y_from_zero = true;
  DataRange positive;
  for (const StudyCell* cell : family.cells) {
    const double x = number_of(*cell, "value");
    if (x > 0) positive.take(x);
  }
  if (!positive.empty() && positive.high / positive.low >= 8) plot.x_scale = Scale::kLog;
  return plot;
}

std::vector<ScatterPlot> noise_plots(const StudyFamily& family) {
  ScatterPlot wrong = noise_plot(family, "False expansions in 100 steps");
  add_series(wrong, family, {"false_expansions", 0, false}, {"", "c2", MarkShape::kCircle, true});
  ScatterPlot missed = noise_plot(family, "Share of changes missed");
  missed.y_high = 1.05;
  // What a detector that is blind to the change would miss.
  ScatterSeries chance{"", "c4", MarkShape::kNone, true};
  for (const StudyCell* cell : family.cells) {
    const Estimate hit = estimate_of(*cell, "hit");
    if (number_of(*cell, "shift") != 0 || hit.n == 0) continue;
    chance.points.push_back({.x = number_of(*cell, "value"), .y = 1 - hit.mean});
  }
  std::ranges::stable_sort(chance.points, {}, &ScatterPoint::x);
  missed.series.push_back(chance);
  add_series(missed, family, {"missed", 1, true}, {"", "c5", MarkShape::kSquare, true});
  ScatterPlot reaction = noise_plot(family, "Reaction, steps");
  add_series(reaction, family, {"reaction_steps", 1, false}, {"", "c1", MarkShape::kCircle, true});
  return {wrong, missed, reaction};
}

}  // namespace

void write_noise(Markup& page, const StudyResults& results) {
  open_section(page, "False and missed expansions",
               "While the data stay the same an expansion is false. When concepts arrive, a run "
               "that does not expand while its window still holds a step from before has missed "
               "them.");
  bool some = false;
  for (const StudyFamily& family : families_of(results)) {
    std::vector<ScatterPlot> plots = noise_plots(family);
    std::erase_if(plots, [](const ScatterPlot& plot) { return y_range_of(plot).empty(); });
    if (plots.empty()) continue;
    some = true;
    page.element("h3", {}, family_title(family.name));
    write_figure(page, scatter_grid(fmt::format("Detection over {}", family.name), plots, 3), "");
  }
  page.element(
      "p", {{"class", "note"}},
      some ? "Means over the seeds with 95% intervals (Wilson's where runs say yes or no), cut "
             "off at 0; pale: single runs. Grey line: what expansions that come by chance would "
             "miss, "
             "from the runs without a change. Reaction: steps from the arrival to the "
             "first expansion, of runs that did not miss it."
           : "No cell has a value to plot over.");
  page.close();
}

}  // namespace offshoot
