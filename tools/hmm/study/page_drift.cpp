// Concepts that arrive in stages: losses by stage and K over the steps, cell by cell.
#include <algorithm>
#include <array>
#include <cmath>

#include "tools/hmm/study/page_parts.h"

namespace offshoot {
namespace {

constexpr std::array<const char*, 3> kColours = {"c1", "c2", "c3"};

// None in the control, in which nothing arrives.
std::vector<Band> stages_of(const StudyCell& cell) {
  std::vector<Band> stages;
  if (nothing_arrives(cell)) return stages;
  for (int64_t stage = 2; stage <= 3; ++stage) {
    const double step = number_of(cell, fmt::format("stage_{}", stage));
    if (std::isfinite(step)) stages.push_back({step, step, fmt::format("stage {}", stage)});
  }
  return stages;
}

ScatterPlot panel(const StudyCell& cell, const StudyResults& results, double height) {
  ScatterPlot plot;
  plot.title = cell.label;
  plot.x_title = "step";
  plot.width = 507;
  plot.height = height;
  plot.right_margin = 92;
  plot.x_low = 0;
  plot.x_high = static_cast<double>(results.steps);
  plot.verticals = stages_of(cell);
  return plot;
}

ScatterPlot loss_panel(const StudyCell& cell, const StudyResults& results) {
  ScatterPlot plot = panel(cell, results, 270);
  for (size_t stage = 0; stage < kColours.size(); ++stage) {
    const std::string curve = fmt::format("loss_stage_{}", stage + 1);
    if (cell.runs.size() > 1) {
      for (const StudyRun& run : cell.runs) {
        ScatterSeries series{"", kColours[stage], MarkShape::kNone, true, false, true};
        series.points = run_curve(run, curve);
        plot.series.push_back(series);
      }
    }
    ScatterSeries mean{stage == 0   ? "first"
                       : stage == 1 ? "second"
                                    : "third",
                       kColours[stage], MarkShape::kNone, true};
    mean.points = mean_curve(cell, curve);
    plot.series.push_back(mean);
  }
  return plot;
}

ScatterPlot experts_panel(const StudyCell& cell, const StudyResults& results) {
  ScatterPlot plot = panel(cell, results, 200);
  plot.y_whole = true;
  const double middle = static_cast<double>(cell.runs.size() - 1) / 2;
  for (size_t i = 0; i < cell.runs.size(); ++i) {
    ScatterSeries series{"", look_of(series_of(cell)).css, MarkShape::kNone, true, true, true};
    series.points =
        experts_over_steps(cell.runs[i], results.steps, 0.07 * (static_cast<double>(i) - middle));
    plot.series.push_back(series);
  }
  return plot;
}

// All of one height, from the least to the greatest value of any; the first losses of an untrained
// model would press all else together.
void share_y(std::vector<ScatterPlot>& plots, bool losses) {
  DataRange range;
  for (const ScatterPlot& plot : plots) {
    for (const ScatterSeries& series : plot.series) {
      for (const ScatterPoint& point : series.points) {
        const bool early = losses && point.x < 0.02 * plot.x_high;
        if (!early) range.take(point.y);
      }
    }
  }
  if (range.empty()) return;
  const double room = losses ? 0.05 * (range.high - range.low) : 1;
  for (ScatterPlot& plot : plots) {
    plot.y_low = losses ? range.low - room : std::max(0.0, range.low - room);
    plot.y_high = range.high + room;
    if (!losses) continue;
    for (ScatterSeries& series : plot.series) {
      std::erase_if(series.points, [&](const ScatterPoint& p) { return p.y > plot.y_high; });
    }
  }
}

}  // namespace

void write_drift(Markup& page, const StudyResults& results) {
  std::vector<ScatterPlot> losses, experts;
  for (const StudyCell& cell : results.cells) {
    losses.push_back(loss_panel(cell, results));
    if (y_range_of(losses.back()).empty()) losses.pop_back();
    experts.push_back(experts_panel(cell, results));
    if (cell.runs.empty()) experts.pop_back();
  }
  if (!losses.empty()) {
    share_y(losses, true);
    open_section(
        page, "What is learned, and what is forgotten",
        "Test loss in nats a token on the concepts that came first, second and third. "
        "The dotted lines are the steps at which new concepts join the data; panels without "
        "them are controls, in which nothing arrives.");
    write_figure(page, scatter_grid("Loss by stage over steps", losses, 2),
                 "Thick: mean over the seeds; thin: each seed. All panels share their axis; the "
                 "steep first losses above it are cut off. A curve that rises after its stage "
                 "tells of forgetting.");
    page.close();
  }
  if (!experts.empty()) {
    share_y(experts, false);
    open_section(page, "Does K follow?");
    write_figure(
        page, scatter_grid("Experts over steps", experts, 2),
        "K over the steps, a line each run. Answered, in the table: the share of the later "
        "stages in which any expert was made. That it was made for what arrived is more "
        "than this says: the same share where nothing arrives stands in the control\u2019s "
        "row.");
    page.close();
  }
}

}  // namespace offshoot
