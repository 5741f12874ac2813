#include "tools/hmm/study/page_parts.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

namespace offshoot {
namespace {

// Takes "-K10" or "-Kinit8" out of a cell's name.
std::string without_number(std::string name, std::string_view tag) {
  for (size_t at = name.find(tag); at != std::string::npos; at = name.find(tag, at + 1)) {
    size_t end = at + tag.size();
    while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end]))) ++end;
    if (end == at + tag.size() || (end < name.size() && name[end] != '-')) continue;
    return name.erase(at, end - at);
  }
  return name;
}

}  // namespace

double number_of(const StudyCell& cell, const std::string& name) {
  const auto at = cell.numbers.find(name);
  return at == cell.numbers.end() ? kNoValue : at->second;
}

std::string series_of(const StudyCell& cell) {
  return without_number(without_number(cell.name, "-Kinit"), "-K");
}

SeriesLook look_of(const std::string& series) {
  static const std::map<std::string, SeriesLook> kLooks = {
      {"topk-k1", {"top-1", "c1", MarkShape::kTriangle}},
      {"topk-k2", {"top-2", "c1", MarkShape::kCircle}},
      {"topk-k4", {"top-4", "c1", MarkShape::kSquare}},
      {"topk", {"top-k", "c1", MarkShape::kCircle}},
      {"topp", {"top-p", "c7", MarkShape::kCircle}},
      {"gmoe", {"GMoE", "c6", MarkShape::kCircle}},
      {"dense", {"dense", "c4", MarkShape::kSquare}},
      {"shared", {"shared expert", "c3", MarkShape::kDiamond}},
      {"ortho", {"orthogonality loss", "c3", MarkShape::kSquare}},
      {"fixed", {"fixed pool", "c1", MarkShape::kCircle}},
      {"mass", {"MASS", "c2", MarkShape::kDiamond}},
      {"dynmoe", {"DynMoE", "c5", MarkShape::kSquare}},
      {"dynmoe-off", {"DynMoE", "c5", MarkShape::kSquare}},
      {"dynmoe-learned", {"DynMoE, learned temp.", "c5", MarkShape::kDiamond}},
      {"mass-reference", {"MASS reference", "c2", MarkShape::kDiamond}},
      {"mass-paper", {"MASS paper", "c2", MarkShape::kTriangle}},
      {"mass-reference-p0.9", {"MASS reference, p 0.9", "c2", MarkShape::kDiamond}},
      {"mass-reference-p0.7", {"MASS reference, p 0.7", "c2", MarkShape::kSquare}},
      {"mass-paper-p0.9", {"MASS paper, p 0.9", "c2", MarkShape::kTriangle}},
      {"mass-paper-p0.7", {"MASS paper, p 0.7", "c2", MarkShape::kCircle}}};
  const auto at = kLooks.find(series);
  if (at != kLooks.end()) return at->second;
  // A variant that is not known by name: "mass-reference-replay".
  SeriesLook look{series, "c8", MarkShape::kCircle};
  size_t longest = 0;
  for (const auto& [name, known] : kLooks) {
    if (name.size() <= longest || !series.starts_with(name)) continue;
    longest = name.size();
    look = {series, known.css, known.shape};
  }
  return look;
}

bool finds_its_experts(const StudyCell& cell) { return !cell.numbers.contains("experts"); }

std::vector<CellSeries> series_in(const std::vector<const StudyCell*>& cells) {
  std::vector<CellSeries> all;
  for (const StudyCell* cell : cells) {
    const std::string name = series_of(*cell);
    auto at = std::ranges::find(all, name, &CellSeries::name);
    if (at == all.end()) at = all.insert(at, {name, {}});
    at->cells.push_back(cell);
  }
  return all;
}

std::vector<const StudyCell*> cells_of(const StudyResults& results) {
  std::vector<const StudyCell*> cells;
  for (const StudyCell& cell : results.cells) cells.push_back(&cell);
  return cells;
}

ScatterPoint estimate_point(double x, const Estimate& y) {
  return {.x = x, .y = y.mean, .y_low = y.low, .y_high = y.high};
}

std::vector<ScatterPoint> experts_over_steps(const StudyRun& run, int64_t steps, double lift) {
  std::vector<ScatterPoint> points;
  const auto add = [&](int64_t step, int64_t experts) {
    points.push_back({.x = static_cast<double>(step), .y = static_cast<double>(experts) + lift});
  };
  if (run.experts.empty() || run.experts.front().first > 0) add(0, run.initial_experts);
  for (const auto& [step, experts] : run.experts) add(step, experts);
  const int64_t last = run.experts.empty() ? run.initial_experts : run.experts.back().second;
  add(steps, last);
  return points;
}

std::vector<ScatterPoint> run_curve(const StudyRun& run, const std::string& curve) {
  const auto at = run.curves.find(curve);
  std::vector<ScatterPoint> points;
  if (at == run.curves.end()) return points;
  for (const auto& [step, value] : at->second) points.push_back({.x = step, .y = value});
  return points;
}

std::vector<ScatterPoint> mean_curve(const StudyCell& cell, const std::string& curve) {
  std::map<double, std::pair<double, size_t>> sums;
  size_t runs = 0;
  for (const StudyRun& run : cell.runs) {
    const std::vector<ScatterPoint> points = run_curve(run, curve);
    runs += points.empty() ? 0 : 1;
    for (const ScatterPoint& point : points) {
      if (!std::isfinite(point.x) || !std::isfinite(point.y)) continue;
      auto& [sum, count] = sums[point.x];
      sum += point.y;
      ++count;
    }
  }
  std::vector<ScatterPoint> points;
  for (const auto& [x, sum] : sums) {
    if (sum.second != runs) continue;
    points.push_back({.x = x, .y = sum.first / static_cast<double>(runs)});
  }
  return points;
}

double common_floor(const StudyResults& results) {
  DataRange range;
  for (const StudyCell& cell : results.cells) {
    for (const double floor : cell.values("floor")) range.take(floor);
  }
  // Equal but for the last bits of a sum.
  return !range.empty() && range.high - range.low < 1e-6 ? range.low : kNoValue;
}

void write_figure(Markup& page, std::string_view svg, std::string_view caption) {
  page.open("figure").raw(svg);
  if (!caption.empty()) page.element("figcaption", {}, caption);
  page.close();
}

void open_section(Markup& page, std::string_view title, std::string_view text) {
  page.open("section").element("h2", {}, title);
  if (!text.empty()) page.element("p", {}, text);
}

}  // namespace offshoot
