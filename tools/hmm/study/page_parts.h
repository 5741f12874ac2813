// What the pages of the studies share. Only page*.cpp includes this.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/hmm/study/results.h"
#include "tools/hmm/study/tables.h"
#include "tools/support/html.h"
#include "tools/support/svg_forest.h"
#include "tools/support/svg_scatter.h"

namespace offshoot {

// The sections of each study, below its table.
void write_paper(Markup& page, const StudyResults& results);
void write_ablate(Markup& page, const StudyResults& results);
void write_drift(Markup& page, const StudyResults& results);
void write_noise(Markup& page, const StudyResults& results);
void write_overhead(Markup& page, const StudyResults& results);
void write_need(Markup& page, const StudyResults& results);

// NaN where the cell has no such number.
double number_of(const StudyCell& cell, const std::string& name);

// Runs of cells that differ in their number of experts only: "topk-k2" of "topk-K10-k2", "dense" of
// "dense-K10", "mass-paper-p0.9" of "mass-paper-p0.9-Kinit3".
std::string series_of(const StudyCell& cell);

// Colour says the family, shape the variant.
struct SeriesLook {
  std::string label;
  std::string css;
  MarkShape shape = MarkShape::kCircle;
};
SeriesLook look_of(const std::string& series);

// Whether the number of experts is the run's own, not the cell's.
bool finds_its_experts(const StudyCell& cell);

// The cells of each series, in the order in which they first appear.
struct CellSeries {
  std::string name;
  std::vector<const StudyCell*> cells;
};
std::vector<CellSeries> series_in(const std::vector<const StudyCell*>& cells);
std::vector<const StudyCell*> cells_of(const StudyResults& results);

// The mean with its interval in y; tooltip and x are the caller's.
ScatterPoint estimate_point(double x, const Estimate& y);

// K over the steps of one run, to the end of training.
std::vector<ScatterPoint> experts_over_steps(const StudyRun& run, int64_t steps, double lift);

// "seed by seed" curves and their mean: the points at the steps that all runs have.
std::vector<ScatterPoint> mean_curve(const StudyCell& cell, const std::string& curve);
std::vector<ScatterPoint> run_curve(const StudyRun& run, const std::string& curve);

// The floor of the test set, where all runs have the same; NaN elsewhere.
double common_floor(const StudyResults& results);

void write_figure(Markup& page, std::string_view svg, std::string_view caption);
// Opens a <section> that the caller closes.
void open_section(Markup& page, std::string_view title, std::string_view text = "");

}  // namespace offshoot
