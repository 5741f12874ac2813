#include "tools/hmm/report_parts.h"

#include <algorithm>

namespace offshoot {

double steps_of(const ReportData& data) {
  double steps = data.train_loss.step.empty() ? 1 : data.train_loss.step.back() + 1;
  for (const double value : {data.steps_planned, data.steps_done, data.phase_end}) {
    if (known(value)) steps = std::max(steps, value);
  }
  return steps;
}

bool has_experts(const ReportData& data) { return !data.layers.empty() && data.method != "dense"; }

std::vector<Point> points_of(const ReportCurve& curve) {
  std::vector<Point> points;
  for (size_t i = 0; i < std::min(curve.step.size(), curve.value.size()); ++i) {
    points.push_back({curve.step[i], curve.value[i]});
  }
  return points;
}

bool any_known(const ReportCurve& curve) {
  return std::any_of(curve.value.begin(), curve.value.end(), known);
}

std::vector<Band> phase_band(const ReportData& data) {
  if (!has_experts(data) || !(data.phase_end > data.phase_begin)) return {};
  return {{data.phase_begin, data.phase_end, "expansion phase"}};
}

void table_row(Markup& page, std::string_view css, std::initializer_list<std::string> cells) {
  page.open("tr", {{"class", std::string(css)}});
  for (const std::string& cell : cells) page.element("td", {}, cell);
  page.close();
}

void table_head(Markup& page, std::initializer_list<std::string_view> names) {
  page.open("thead").open("tr");
  for (const std::string_view name : names) page.element("th", {{"scope", "col"}}, name);
  page.close().close();
}

}  // namespace offshoot
