// What the report's sections share. Only report*.cpp includes this.
#pragma once

#include <cmath>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "tools/hmm/report.h"
#include "tools/support/html.h"
#include "tools/support/svg_plot.h"

namespace offshoot {

// A plot of 100,000 steps carries no more points than the screen has columns.
inline constexpr int64_t kRawBuckets = 600;
inline constexpr int64_t kLineBuckets = 360;

inline bool known(double value) { return std::isfinite(value); }

// The right end of every step axis: the steps planned, or else those that are known of.
double steps_of(const ReportData& data);
bool has_experts(const ReportData& data);
bool any_known(const ReportCurve& curve);
std::vector<Point> points_of(const ReportCurve& curve);
// The expansion phase as a plot shades it; empty where the run has none.
std::vector<Band> phase_band(const ReportData& data);

// Rows of a table.
void table_row(Markup& page, std::string_view css, std::initializer_list<std::string> cells);
void table_head(Markup& page, std::initializer_list<std::string_view> names);

// How many experts a token has over the steps; the mean over layers.
void write_active(Markup& page, const ReportData& data);

// The section of one layer.
void write_layer(Markup& page, const ReportData& data, const ReportLayer& layer);

}  // namespace offshoot
