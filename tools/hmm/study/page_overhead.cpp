// What growing costs: shares of a step's time, and bytes.
#include <cmath>

#include "tools/hmm/study/page_parts.h"
#include "tools/support/svg_bars.h"

namespace offshoot {
namespace {

double mean_of(const StudyCell& cell, const std::string& measure) {
  return estimate_of(cell, measure).mean;
}

std::string percent(double share) {
  return std::isfinite(share) ? number_text(share, share < 1 ? 2 : 1) + "%" : std::string(kMissing);
}

void write_time(Markup& page, const StudyResults& results) {
  BarPlot plot;
  plot.description = "Share of a training step that monitoring, decisions and edits take";
  plot.x_title = "share of a step's time in the expansion phase, %";
  plot.right_margin = 260;
  plot.key = {{"monitoring", "c1"}, {"decision, probes", "c6"}, {"duplication, removal", "c2"}};
  for (const StudyCell& cell : results.cells) {
    const double step = mean_of(cell, "step_us");
    if (!(step > 0)) continue;
    BarRow row{cell.label, {}, ""};
    double sum = 0;
    bool some = false;
    for (const auto& [measure, css] : {std::pair("observe_us", "c1"), std::pair("decide_us", "c6"),
                                       std::pair("edit_us", "c2")}) {
      const double share = 100 * mean_of(cell, measure) / step;
      row.parts.push_back({share, css,
                           fmt::format("{}: {} µs, {}", measure,
                                       number_text(mean_of(cell, measure), 1), percent(share))});
      if (!std::isfinite(share)) continue;
      sum += share;
      some = true;
    }
    row.text = fmt::format("{} of {} µs", percent(some ? sum : kNoValue), count_text(step));
    plot.rows.push_back(row);
  }
  if (plot.rows.empty()) return;
  open_section(page, "Time");
  write_figure(page, bar_plot(plot),
               "Mean time over mean time of the steps in which the policy monitors; single "
               "decisions and edits are spread over all of them. The rest of a step is training. "
               "What one edit takes, and the bytes of the expert that a split copies, are in the "
               "table.");
  ForestPlot steps;
  steps.description = "Microseconds of a training step";
  steps.panels = {{"While monitoring", "µs a step", true, false, "", 120},
                  {"Afterwards", "µs a step", true, false, "", 120}};
  ForestGroup group;
  for (const StudyCell& cell : results.cells) {
    ForestRow row{cell.label, "", cell.label, {}};
    for (const std::string measure : {"step_us", "steady_step_us"}) {
      const Estimate e = estimate_of(cell, measure);
      row.values.push_back(
          {e.mean, e.low, e.high, e.n > 0 ? estimate_text(e, 0) : std::string(kMissing), "c1"});
    }
    group.rows.push_back(row);
  }
  steps.groups = {group};
  page.element("h3", {}, "A step while the policy monitors, and after it has ended");
  write_figure(page, forest_plot(steps),
               "Means over the runs, of each run's mean step, with 95% intervals. Pools differ in "
               "size before and after, so the two are no measure of "
               "monitoring alone.");
  page.close();
}

void write_bytes(Markup& page, const StudyResults& results) {
  BarPlot plot;
  plot.description = "Bytes of model, optimizer and windows";
  plot.x_title = "KiB";
  plot.right_margin = 260;
  plot.key = {{"model", "c1"}, {"optimizer", "c3"}, {"what monitoring keeps", "c2"}};
  for (const StudyCell& cell : results.cells) {
    BarRow row{cell.label, {}, ""};
    double rest = 0;
    for (const auto& [measure, css] :
         {std::pair("model_bytes", "c1"), std::pair("optimizer_bytes", "c3"),
          std::pair("window_bytes", "c2")}) {
      const double bytes = mean_of(cell, measure);
      row.parts.push_back({bytes / 1024, css, fmt::format("{}: {}", measure, bytes_text(bytes))});
      if (measure != std::string_view("window_bytes") && std::isfinite(bytes)) rest += bytes;
    }
    const double windows = mean_of(cell, "window_bytes");
    if (!(rest > 0)) continue;
    row.text = fmt::format("monitoring {}, {} of the rest", bytes_text(windows),
                           percent(100 * windows / rest));
    plot.rows.push_back(row);
  }
  if (plot.rows.empty()) return;
  open_section(page, "Bytes");
  write_figure(page, bar_plot(plot),
               "While monitoring; activations are left out. Afterwards the windows are given up.");
  page.close();
}

}  // namespace

void write_overhead(Markup& page, const StudyResults& results) {
  write_time(page, results);
  write_bytes(page, results);
}

}  // namespace offshoot
