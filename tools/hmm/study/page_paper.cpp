// The paper's experiment: loss over K, Pareto fronts, specialization, growth.
#include <algorithm>
#include <cmath>
#include <set>

#include "tools/hmm/report_event.h"
#include "tools/hmm/report_figures.h"
#include "tools/hmm/study/page_parts.h"

namespace offshoot {
namespace {

std::string loss_title(const StudyCell& cell) {
  std::string title = cell.label;
  title += "\ntest loss " + interval_text(estimate_of(cell, "test_loss"), 4, false);
  const Estimate experts = estimate_of(cell, "experts");
  if (experts.n > 0) title += "\nK " + estimate_text(experts, 1);
  const Estimate active = estimate_of(cell, "active_experts");
  if (active.n > 0) title += "\nactive k " + estimate_text(active, 2);
  return title;
}

// --- elbow --------------------------------------------------------------------------------------

// One point a cell, moved by `aside` so that bars at one K can be told apart.
ScatterSeries elbow_curve(const CellSeries& from, double aside) {
  const SeriesLook look = look_of(from.name);
  ScatterSeries series{look.label, look.css, look.shape};
  for (const StudyCell* cell : from.cells) {
    ScatterPoint point =
        estimate_point(number_of(*cell, "experts") + aside, estimate_of(*cell, "test_loss"));
    point.title = loss_title(*cell);
    series.points.push_back(point);
  }
  std::ranges::stable_sort(series.points, {}, &ScatterPoint::x);
  series.joined = series.points.size() > 1;
  return series;
}

// Cells whose runs end with a K of their own: every run, and the cells' means before them.
void add_grown(const CellSeries& from, std::vector<ScatterSeries>& all) {
  const SeriesLook look = look_of(from.name);
  ScatterSeries runs{"", look.css, look.shape};
  runs.faint = true;
  ScatterSeries means{look.label, look.css, look.shape};
  means.filled = true;
  for (const StudyCell* cell : from.cells) {
    for (const StudyRun& run : cell->runs) {
      runs.points.push_back({.x = run.measure("experts"),
                             .y = run.measure("test_loss"),
                             .title = fmt::format("{}, seed {}", cell->label, run.seed)});
    }
    const Estimate experts = estimate_of(*cell, "experts");
    ScatterPoint point = estimate_point(experts.mean, estimate_of(*cell, "test_loss"));
    point.x_low = experts.low;
    point.x_high = experts.high;
    point.title = loss_title(*cell);
    means.points.push_back(point);
  }
  all.push_back(runs);
  all.push_back(means);
}

void write_elbow(Markup& page, const StudyResults& results) {
  ScatterPlot plot;
  plot.description = "Test loss over the number of experts";
  plot.x_title = "experts K";
  plot.y_title = "Test loss, nats a token";
  plot.height = 500;
  std::vector<CellSeries> fixed, grown;
  DataRange experts;
  for (const CellSeries& series : series_in(cells_of(results))) {
    (finds_its_experts(*series.cells.front()) ? grown : fixed).push_back(series);
    for (const StudyCell* cell : series.cells) experts.take(number_of(*cell, "experts"));
  }
  std::set<double> sizes;
  for (const StudyCell& cell : results.cells) {
    if (!finds_its_experts(cell)) sizes.insert(number_of(cell, "experts"));
  }
  if (sizes.size() > 1) plot.x_ticks.assign(sizes.begin(), sizes.end());
  const double step = 0.006 * std::max(1.0, experts.high - experts.low);
  for (size_t i = 0; i < fixed.size(); ++i) {
    const double aside =
        step * (static_cast<double>(i) - static_cast<double>(fixed.size() - 1) / 2);
    plot.series.push_back(elbow_curve(fixed[i], fixed.size() > 1 ? aside : 0));
  }
  for (const CellSeries& series : grown) add_grown(series, plot.series);
  if (y_range_of(plot).empty()) return;
  open_section(page, "Is there an elbow?",
               "The paper finds the loss of mixtures of a fixed size falling up to about 15 "
               "experts and level after that, and MASS near that point without a search.");
  const double floor = common_floor(results);
  write_figure(page, scatter_plot(plot),
               "Means over the seeds with their 95% intervals. Hollow: K is given (moved aside a "
               "little, so that bars at one K can be told apart). Filled: K is what the run came "
               "to; the pale marks are its single runs, and bars lie in both directions. The axis "
               "of losses begins where the results do.");
  if (std::isfinite(floor)) {
    plot.height = 250;
    plot.lines.push_back({floor, "exact floor  " + number_text(floor, 3), "c4"});
    for (ScatterSeries& series : plot.series) series.label.clear();
    plot.description = "The same losses above the exact floor";
    write_figure(page, scatter_plot(plot),
                 "The same with the exact floor, the loss of a reader who knows the hidden Markov "
                 "models behind the data: how small the differences above are beside what is "
                 "left to learn.");
  }
  page.close();
}

// --- Pareto fronts ------------------------------------------------------------------------------

struct Placed {
  double x;
  double y;
  const StudyCell* cell;
};

// Cells that no other beats in both; by rising x.
std::vector<Placed> pareto_front(std::vector<Placed> cells) {
  std::erase_if(cells, [](const Placed& p) { return !std::isfinite(p.x) || !std::isfinite(p.y); });
  std::ranges::stable_sort(cells, [](const Placed& a, const Placed& b) {
    return a.x < b.x || (a.x == b.x && a.y < b.y);
  });
  std::vector<Placed> front;
  for (const Placed& cell : cells) {
    if (front.empty() || cell.y < front.back().y) front.push_back(cell);
  }
  return front;
}

void write_front(Markup& page, const StudyResults& results, const std::string& measure, double unit,
                 std::string_view x_title, std::string_view caption) {
  ScatterPlot plot;
  plot.description = fmt::format("Test loss over {}", x_title);
  plot.x_title = x_title;
  plot.y_title = "Test loss, nats a token";
  plot.height = 430;
  std::vector<Placed> cells;
  for (const StudyCell& cell : results.cells) {
    cells.push_back(
        {estimate_of(cell, measure).mean / unit, estimate_of(cell, "test_loss").mean, &cell});
  }
  const std::vector<Placed> front = pareto_front(cells);
  if (front.empty()) return;
  ScatterSeries line{"best for its cost", "front", MarkShape::kNone, true, true};
  for (const Placed& cell : front) line.points.push_back({.x = cell.x, .y = cell.y});
  plot.series.push_back(line);
  for (const CellSeries& from : series_in(cells_of(results))) {
    const SeriesLook look = look_of(from.name);
    ScatterSeries series{look.label, look.css, look.shape};
    series.filled = finds_its_experts(*from.cells.front());
    for (const StudyCell* cell : from.cells) {
      ScatterPoint point =
          estimate_point(estimate_of(*cell, measure).mean / unit, estimate_of(*cell, "test_loss"));
      point.title = loss_title(*cell);
      const bool best = std::ranges::find(front, cell, &Placed::cell) != front.end();
      if (best) point.label = cell->label;
      series.points.push_back(point);
    }
    plot.series.push_back(series);
  }
  write_figure(page, scatter_plot(plot), caption);
}

// --- specialization -----------------------------------------------------------------------------

void write_jsd(Markup& page, const StudyResults& results) {
  ForestPlot plot;
  plot.description = "Jensen-Shannon divergence by entity and by property";
  plot.panels = {{"By entity", "nats", true, false, "", 100},
                 {"By property", "nats", true, false, "", 100}};
  bool some = false;
  for (const StudyFamily& family : families_of(results)) {
    ForestGroup group{family_title(family.name), {}};
    for (const StudyCell* cell : family.cells) {
      ForestRow row{cell->label, "", cell->label, {}};
      bool measured = false;
      for (const std::string measure : {"jsd_entity", "jsd_property"}) {
        const Estimate e = estimate_of(*cell, measure);
        measured = measured || e.n > 0;
        row.values.push_back(
            {e.mean, e.low, e.high, estimate_text(e, 3), look_of(series_of(*cell)).css});
      }
      if (measured) group.rows.push_back(row);
    }
    some = some || !group.rows.empty();
    plot.groups.push_back(group);
  }
  if (!some) return;
  open_section(page, "Do experts specialize?",
               "Jensen-Shannon divergence between the labels' use of the experts: 0 when every "
               "label is spread alike over them, ln K at most.");
  write_figure(page, forest_plot(plot),
               "Means with 95% intervals. More experts and fewer active ones leave room for more "
               "divergence, so compare cells of like K "
               "and k.");
  page.close();
}

// --- growth -------------------------------------------------------------------------------------

ScatterPlot growth_panel(const StudyCell& cell, int64_t steps) {
  ScatterPlot plot;
  plot.title = cell.label;
  plot.x_title = "step";
  plot.width = 329;
  plot.height = 190;
  plot.right_margin = 22;
  plot.x_low = 0;
  plot.x_high = static_cast<double>(steps);
  plot.y_whole = true;
  const double middle = static_cast<double>(cell.runs.size() - 1) / 2;
  for (size_t i = 0; i < cell.runs.size(); ++i) {
    ScatterSeries series{"", look_of(series_of(cell)).css, MarkShape::kNone, true, true, true};
    // Runs at the same K lie beside one another.
    series.points =
        experts_over_steps(cell.runs[i], steps, 0.07 * (static_cast<double>(i) - middle));
    plot.series.push_back(series);
  }
  return plot;
}

void write_growth(Markup& page, const StudyResults& results) {
  bool begun = false;
  for (const StudyFamily& family : families_of(results)) {
    std::vector<ScatterPlot> panels;
    DataRange experts, changes;
    for (const StudyCell* cell : family.cells) {
      if (!finds_its_experts(*cell) || cell->runs.empty()) continue;
      panels.push_back(growth_panel(*cell, results.steps));
      const DataRange range = y_range_of(panels.back());
      experts.take(range.low);
      experts.take(range.high);
      for (const StudyRun& run : cell->runs) {
        for (const auto& [step, count] : run.experts) {
          if (step > 0) changes.take(static_cast<double>(step));
        }
      }
    }
    if (panels.empty()) continue;
    if (!begun) open_section(page, "How K moved");
    begun = true;
    const double all = static_cast<double>(results.steps);
    const bool focus = !changes.empty() && changes.high - changes.low < 0.35 * all;
    for (ScatterPlot& panel : panels) {
      panel.y_low = std::max(0.0, experts.low - 1);
      panel.y_high = experts.high + 1;
      if (!focus) continue;
      const double room = std::max(2.0, 0.15 * (changes.high - changes.low));
      panel.x_focus_low = std::max(0.0, changes.low - room);
      panel.x_focus_high = std::min(all, changes.high + room);
    }
    page.element("h3", {}, family_title(family.name));
    write_figure(page, scatter_grid("Experts over steps, " + family_title(family.name), panels, 3),
                 focus ? "K over the steps, a line each run. The step axis is stretched between "
                         "the two breaks, where all changes are."
                       : "K over the steps, a line each run.");
  }
  if (begun) page.close();
}

void write_lineage(Markup& page, const StudyResults& results) {
  const StudyCell* cell = reference_of(results);
  const auto grew = [](const StudyCell& c) {
    return !c.runs.empty() && !c.runs.front().events.empty();
  };
  if (cell == nullptr || !grew(*cell)) {
    const auto at = std::ranges::find_if(results.cells, grew);
    if (at == results.cells.end()) return;
    cell = &*at;
  }
  const StudyRun& run = cell->runs.front();
  ReportData data;
  data.method = "mass";
  data.steps_planned = data.steps_done = static_cast<double>(results.steps);
  ReportLayer layer;
  layer.experts_initial = static_cast<double>(run.initial_experts);
  int64_t experts = run.initial_experts;
  bool stop_removes = false;
  for (const GrowthEvent& event : run.events) {
    layer.events.push_back(report_event(event));
    if (event.kind == GrowthEvent::Kind::stop) stop_removes |= event.experts < experts;
    experts = event.experts;
  }
  layer.lineage = lineage_from_events(run.initial_experts, layer.events, stop_removes);
  for (const ScatterPoint& point : experts_over_steps(run, results.steps, 0)) {
    layer.experts_curve.step.push_back(point.x);
    layer.experts_curve.value.push_back(point.y);
  }
  data.layers.push_back(layer);
  const std::string figure = growth_figure(data, layer);
  if (figure.empty()) return;
  open_section(page, "One run from the inside", fmt::format("{}, seed {}.", cell->label, run.seed));
  write_figure(page, figure,
               "Every line of the tree is an expert's life; a newborn leaves its parent's line at "
               "the step of its birth, and a cross ends a life. Hold the pointer on a line or a "
               "mark for its p-value, cosine and gain.");
  page.close();
}

}  // namespace

void write_paper(Markup& page, const StudyResults& results) {
  write_elbow(page, results);
  open_section(page, "What does a lower loss cost?",
               "A cell on the line has the lowest loss of all that cost no more.");
  write_front(page, results, "active_experts", 1, "active experts k, mean a test token",
              "Test loss over the experts that see a token. Dense models have none and are left "
              "out.");
  write_front(page, results, "flops_per_token", 1e3, "thousand FLOPs a token, forward",
              "Test loss over the arithmetic of a forward pass, counted: 2 operations a "
              "multiplication and addition; attention and head included.");
  page.close();
  write_jsd(page, results);
  write_growth(page, results);
  write_lineage(page, results);
}

}  // namespace offshoot
