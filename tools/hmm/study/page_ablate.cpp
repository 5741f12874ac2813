// What each ingredient does: forest plots against the whole, and plots of the swept numbers.
#include <algorithm>
#include <array>
#include <cmath>

#include "tools/hmm/study/page_parts.h"

namespace offshoot {
namespace {

struct Measure {
  std::string name;
  std::string title;
  std::string x_title;
  int decimals;
  bool lower_is_better;  // else neither is
};

const std::array<Measure, 4> kMeasures = {
    {{"test_loss", "Test loss", "difference in test loss, nats a token", 4, true},
     {"experts", "Number of experts K", "difference in K", 2, false},
     {"active_experts", "Active experts k", "difference in k", 2, false},
     {"jsd_entity", "Specialization by entity", "difference in JSD by entity, nats", 3, false}}};

// Comparisons of a measure: larger than the noise, and not; each by falling difference.
struct Split {
  std::vector<const StudyComparison*> larger;
  std::vector<const StudyComparison*> noise;
  bool intervals = false;  // any has one
};

Split split_of(const StudyResults& results, const std::string& measure) {
  Split split;
  for (const StudyComparison& comparison : results.comparisons) {
    if (comparison.measure != measure || comparison.difference.n == 0) continue;
    const bool larger = differs_from_zero(comparison.difference);
    split.intervals = split.intervals || comparison.difference.n > 1;
    (larger ? split.larger : split.noise).push_back(&comparison);
  }
  for (auto* list : {&split.larger, &split.noise}) {
    std::ranges::stable_sort(*list, [](const auto* a, const auto* b) {
      return a->difference.mean > b->difference.mean;
    });
  }
  return split;
}

std::string label_of(const StudyResults& results, const StudyComparison& comparison) {
  const StudyCell* cell = results.find(comparison.cell);
  return cell == nullptr ? comparison.cell : cell->label;
}

std::string css_of(const StudyComparison& comparison, const Measure& measure) {
  if (!differs_from_zero(comparison.difference)) return "noise";
  const bool above = comparison.difference.mean > 0;
  if (!measure.lower_is_better) return above ? "above" : "below";
  return above ? "worse" : "better";
}

ForestGroup group_of(const StudyResults& results, const Measure& measure, std::string title,
                     const std::vector<const StudyComparison*>& comparisons) {
  ForestGroup group{std::move(title), {}};
  for (const StudyComparison* comparison : comparisons) {
    const Estimate& e = comparison->difference;
    const std::string css = css_of(*comparison, measure);
    const std::string label = label_of(results, *comparison);
    const std::string text = interval_text(e, measure.decimals, true);
    group.rows.push_back({label,
                          css,
                          fmt::format("{}\n{}, {} pairs", label, text, e.n),
                          {{e.mean, e.low, e.high, text, css}}});
  }
  return group;
}

void write_list(Markup& page, const StudyResults& results, std::string_view title,
                const Measure& measure, const std::vector<const StudyComparison*>& comparisons) {
  page.open("p", {{"class", "list-title"}}).text(title).close();
  if (comparisons.empty()) {
    page.element("p", {{"class", "note"}}, "None.");
    return;
  }
  page.open("ul", {{"class", "two"}});
  for (const StudyComparison* comparison : comparisons) {
    page.element("li", {},
                 fmt::format("{}: {}", label_of(results, *comparison),
                             signed_text(comparison->difference.mean, measure.decimals)));
  }
  page.close();
}

void write_forest(Markup& page, const StudyResults& results, const Measure& measure) {
  const Split split = split_of(results, measure.name);
  const size_t count = split.larger.size() + split.noise.size();
  if (count == 0) return;
  const StudyCell* reference = results.find(
      results
          .compared(measure.name, (split.larger.empty() ? split.noise : split.larger).front()->cell)
          ->against);
  const std::string against = reference == nullptr ? "the reference" : reference->label;
  open_section(page, measure.title);
  if (reference != nullptr) {
    page.element(
        "p", {},
        fmt::format("{} itself: {}.", against,
                    interval_text(estimate_of(*reference, measure.name), measure.decimals, false)));
  }
  ForestPlot plot;
  plot.description = fmt::format("{}: paired differences against {}", measure.title, against);
  plot.label_width = 290;
  plot.panels = {{"", measure.x_title, false, true, against, 200}};
  plot.groups = {group_of(results, measure, "Larger than the noise", split.larger),
                 group_of(results, measure,
                          split.intervals ? "Not larger than the noise" : "One seed: no interval",
                          split.noise)};
  std::string caption = fmt::format(
      "Each row minus {}, seed by seed: mean difference and 95% interval. Coloured rows leave 0 "
      "out{}.",
      against,
      measure.lower_is_better ? "; orange ones have a higher loss, green ones a lower" : "");
  if (split.intervals) {
    caption += fmt::format(
        " Of {} such intervals about {} would leave 0 out by chance alone if nothing differed.",
        count, number_text(0.05 * static_cast<double>(count), 0));
  }
  write_figure(page, forest_plot(plot), caption);
  if (split.intervals) {
    write_list(page, results, "Larger than the noise", measure, split.larger);
    write_list(page, results, "Not larger than the noise", measure, split.noise);
  }
  page.close();
}

// --- swept numbers ------------------------------------------------------------------------------

ScatterPlot sweep_plot(const std::vector<const StudyCell*>& cells, const std::string& family,
                       const std::string& measure, std::string title, bool log) {
  ScatterPlot plot;
  plot.title = std::move(title);
  plot.x_title = family_title(family);
  plot.width = 507;
  plot.height = 250;
  plot.right_margin = 16;
  plot.x_scale = log ? Scale::kLog : Scale::kLinear;
  ScatterSeries runs{"", "c1", MarkShape::kCircle};
  runs.faint = true;
  ScatterSeries means{"", "c1", MarkShape::kCircle, true};
  for (const StudyCell* cell : cells) {
    const double x = number_of(*cell, "value");
    for (const StudyRun& run : cell->runs) {
      runs.points.push_back({.x = x, .y = run.measure(measure)});
    }
    ScatterPoint point = estimate_point(x, estimate_of(*cell, measure));
    point.title =
        fmt::format("{}\n{}", cell->label, interval_text(estimate_of(*cell, measure), 4, false));
    means.points.push_back(point);
    if (plot.x_ticks.empty() || plot.x_ticks.back() != x) plot.x_ticks.push_back(x);
  }
  plot.series = {runs, means};
  return plot;
}

void write_sweeps(Markup& page, const StudyResults& results) {
  bool begun = false;
  for (const StudyFamily& family : families_of(results)) {
    std::vector<const StudyCell*> cells;
    for (const StudyCell* cell : family.cells) {
      if (std::isfinite(number_of(*cell, "value"))) cells.push_back(cell);
    }
    if (cells.size() < 2) continue;
    const auto value = [](const StudyCell* cell) { return number_of(*cell, "value"); };
    std::ranges::stable_sort(cells, {}, value);
    const double low = value(cells.front()), high = value(cells.back());
    const bool log = low > 0 && high / low >= 20;
    if (!begun) open_section(page, "Swept numbers");
    begun = true;
    page.element("h3", {}, family_title(family.name));
    write_figure(
        page,
        scatter_grid(fmt::format("K and test loss over {}", family.name),
                     {sweep_plot(cells, family.name, "experts", "Experts K at the end", log),
                      sweep_plot(cells, family.name, "test_loss", "Test loss, nats a token", log)},
                     2),
        log ? "Means with 95% intervals, single runs pale; logarithmic axis."
            : "Means with 95% intervals, single runs pale.");
  }
  if (begun) page.close();
}

}  // namespace

void write_ablate(Markup& page, const StudyResults& results) {
  for (const Measure& measure : kMeasures) write_forest(page, results, measure);
  write_sweeps(page, results);
}

}  // namespace offshoot
