// How a layer grew: growth_figure of report_figures.h.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string_view>

#include "tools/hmm/report_figures.h"
#include "tools/hmm/report_parts.h"

namespace offshoot {
namespace {

constexpr double kWidth = 1040;
constexpr double kLeft = 92;
constexpr double kRight = 936;
constexpr double kCountHeight = 120;
constexpr double kLaneHeight = 20;
constexpr double kGap = 34;

constexpr std::array<std::string_view, 6> kDrawnKinds = {"expand", "add",    "keep",
                                                         "reject", "remove", "stop"};

struct Focus {
  double low = 0;
  double high = 0;
  bool on = false;
};

// Under the usual schedules all events fall into one hundredth of the run: drawn true to scale
// they would be one smear.
Focus focus_of(const ReportData& data, const ReportLayer& layer) {
  if (layer.events.empty()) return {};
  double first = static_cast<double>(layer.events.front().step);
  double last = first;
  for (const ReportEvent& event : layer.events) {
    first = std::min(first, static_cast<double>(event.step));
    last = std::max(last, static_cast<double>(event.step));
  }
  const double room = std::max(3.0, std::ceil(0.12 * (last - first)));
  Focus focus{std::max(0.0, first - room), std::min(steps_of(data), last + room), false};
  focus.on = focus.high - focus.low < 0.4 * steps_of(data);
  return focus;
}

// K over steps as given, or counted from the lives.
std::vector<Point> experts_over_steps(const ReportData& data, const ReportLayer& layer) {
  std::vector<Point> points;
  for (size_t i = 0; i < layer.experts_curve.step.size(); ++i) {
    // Steps that change nothing are left out: the curve holds its value.
    if (!points.empty() && points.back().y == layer.experts_curve.value[i]) continue;
    points.push_back({layer.experts_curve.step[i], layer.experts_curve.value[i]});
  }
  if (points.empty()) {
    std::map<int64_t, double> change = {{0, 0}};
    for (const ReportExpert& expert : layer.lineage) {
      change[expert.born] += 1;
      if (expert.removed >= 0) change[expert.removed] -= 1;
    }
    double alive = 0;
    for (const auto& [step, by] : change) {
      alive += by;
      points.push_back({static_cast<double>(step), alive});
    }
  }
  const double end = known(data.steps_done) ? data.steps_done : steps_of(data);
  if (!points.empty() && points.back().x < end) points.push_back({end, points.back().y});
  return points;
}

std::string event_title(const ReportEvent& event) {
  std::string title =
      fmt::format("step {}: {}", count_text(static_cast<double>(event.step)), event.kind);
  if (event.created >= 0) {
    title += fmt::format(", expert {}", event.created);
    if (event.source >= 0) title += fmt::format(" from {}", event.source);
  } else if (event.source >= 0) {
    title += fmt::format(", expert {}", event.source);
  }
  if (known(event.p_value)) title += "\np-value " + probability_text(event.p_value);
  if (known(event.cosine)) title += "\ncosine " + probability_text(event.cosine);
  if (known(event.gain)) title += "\ngain " + signed_text(event.gain, 5) + " nats";
  return title;
}

void draw_mark(Markup& svg, std::string_view kind, double x, double y) {
  const std::string css = fmt::format("mark {}", kind);
  std::string d;
  if (kind == "expand" || kind == "add") {
    d = fmt::format("M{} {}l5 9h-10z", svg_number(x), svg_number(y - 5));
  } else if (kind == "keep") {
    d = fmt::format("M{} {}a4 4 0 1 1 8 0a4 4 0 1 1 -8 0z", svg_number(x - 4), svg_number(y));
  } else if (kind == "reject" || kind == "remove") {
    d = fmt::format("M{} {}l8 8m0 -8l-8 8", svg_number(x - 4), svg_number(y - 4));
  } else {
    d = fmt::format("M{} {}h8v8h-8z", svg_number(x - 4), svg_number(y - 4));
  }
  svg.empty("path", {{"class", css}, {"d", d}});
}

double draw_expert_count(Markup& svg, const ReportData& data, const ReportLayer& layer,
                         const Axis& x, double top) {
  const std::vector<Point> points = experts_over_steps(data, layer);
  double low = points.empty() ? 0 : points.front().y;
  double high = low;
  for (const Point& point : points) {
    low = std::min(low, point.y);
    high = std::max(high, point.y);
  }
  const Axis y(low - 0.5, high + 0.5, top + kCountHeight, top);
  const bool few = high - low <= 6;
  for (const double k : few ? Axis(low, high, 0, 1).ticks(6) : y.ticks(4)) {
    if (k != std::floor(k) || k > high) continue;
    svg_line(svg, x.from(), y(k), x.to(), y(k), "grid");
    svg_text(svg, x.from() - 8, y(k) + 4, "tick end", count_text(k));
  }
  svg_text(svg, 0, top - 16, "panel-title", "Experts K");
  svg.empty("path", {{"class", "curve c1"}, {"d", path_data(points, x, y, true)}});
  if (!points.empty()) {
    svg_text(svg, x(points.back().x) + 10, y(points.back().y) + 4, "label c1",
             "K = " + count_text(points.back().y));
  }
  return top + kCountHeight;
}

double draw_event_lanes(Markup& svg, const ReportLayer& layer, const Axis& x, double top) {
  svg_text(svg, 0, top - 6, "panel-title", "Events");
  for (const std::string_view kind : kDrawnKinds) {
    const auto count = std::count_if(layer.events.begin(), layer.events.end(),
                                     [&](const ReportEvent& event) { return event.kind == kind; });
    if (count == 0) continue;
    const double y = top + kLaneHeight / 2;
    svg_line(svg, x.from(), y, x.to(), y, "grid");
    svg_text(svg, x.from() - 8, y + 4, fmt::format("label end {}", kind), kind);
    svg_text(svg, x.to() + 10, y + 4, "tick", fmt::format("{} ×", count));
    for (const ReportEvent& event : layer.events) {
      if (event.kind != kind) continue;
      svg.open("g").element("title", {}, event_title(event));
      draw_mark(svg, kind, x(static_cast<double>(event.step)), y);
      svg.close();
    }
    top += kLaneHeight;
  }
  return top;
}

// A child right below its parent, the youngest first: then no connector crosses a life.
void place_family(const std::vector<ReportExpert>& lives, size_t at, std::vector<size_t>& order) {
  order.push_back(at);
  for (size_t child = lives.size(); child-- > 0;) {
    // A child's id is greater than its parent's, which also ends the recursion on any input.
    if (lives[child].parent == lives[at].id && lives[child].id > lives[at].id) {
      place_family(lives, child, order);
    }
  }
}

std::vector<ReportExpert> lives_in_order(std::vector<ReportExpert> lives) {
  const auto older = [](const ReportExpert& a, const ReportExpert& b) { return a.id < b.id; };
  std::sort(lives.begin(), lives.end(), older);
  std::vector<size_t> order;
  for (size_t i = 0; i < lives.size(); ++i) {
    const bool known_parent = std::any_of(lives.begin(), lives.end(), [&](const ReportExpert& e) {
      return e.id == lives[i].parent && e.id < lives[i].id;
    });
    if (!known_parent) place_family(lives, i, order);
  }
  std::vector<ReportExpert> placed;
  for (const size_t i : order) placed.push_back(lives[i]);
  return placed;
}

std::string life_title(const ReportExpert& expert) {
  std::string title = fmt::format("expert {}", expert.id);
  if (expert.parent >= 0) {
    title += fmt::format(", from {} at step {}", expert.parent,
                         count_text(static_cast<double>(expert.born)));
  }
  if (expert.removed >= 0) {
    title += fmt::format("\nremoved at step {}", count_text(static_cast<double>(expert.removed)));
  }
  if (expert.parent >= 0) {
    title += "\np-value " + probability_text(expert.p_value);
    title += "\ncosine " + probability_text(expert.cosine);
    title += "\ngain " + signed_text(expert.gain, 5);
    if (known(expert.gain)) title += " nats";
  }
  return title;
}

double row_height(size_t rows) { return rows <= 32 ? 19 : rows <= 64 ? 14 : 11; }

double draw_lineage(Markup& svg, const ReportData& data, const ReportLayer& layer, const Axis& x,
                    double top) {
  const std::vector<ReportExpert> lives = lives_in_order(layer.lineage);
  const double height = row_height(lives.size());
  const double end = known(data.steps_done) ? data.steps_done : x.high();
  std::map<int64_t, double> row;
  for (size_t i = 0; i < lives.size(); ++i) {
    row[lives[i].id] = top + (static_cast<double>(i) + 0.5) * height;
  }
  svg_text(svg, 0, top - 8, "panel-title", "Lineage");
  svg_text(svg, x.to() + 10, top - 8, "tick", "expert");
  for (const ReportExpert& expert : lives) {
    const double y = row[expert.id];
    const double born = x(static_cast<double>(expert.born));
    const double died = x(expert.removed >= 0 ? static_cast<double>(expert.removed) : end);
    const auto parent = row.find(expert.parent);
    std::string d = fmt::format("M{} {}", svg_number(born), svg_number(y));
    if (parent != row.end()) {
      d = fmt::format("M{} {}V{}", svg_number(born), svg_number(parent->second), svg_number(y));
    }
    d += fmt::format("H{}", svg_number(died));
    const std::string_view fate = expert.removed >= 0  ? "removed"
                                  : expert.parent >= 0 ? "newborn"
                                                       : "founder";
    svg.open("g", {{"class", fmt::format("life {}", fate)}});
    svg.element("title", {}, life_title(expert));
    svg.empty("path", {{"class", "hit"}, {"d", d}}).empty("path", {{"class", "line"}, {"d", d}});
    if (parent != row.end()) {
      svg.empty("circle", {{"class", "branch"},
                           {"cx", svg_number(born)},
                           {"cy", svg_number(parent->second)},
                           {"r", "3"}});
    } else {
      svg_text(svg, x.from() - 8, y + 4, "tick end", fmt::format("{}", expert.id));
    }
    if (expert.removed >= 0) draw_mark(svg, "reject", died, y);
    svg_text(svg, died + 10, y + 4, height < 14 ? "id small" : "id", fmt::format("{}", expert.id));
    svg.close();
  }
  return top + static_cast<double>(lives.size()) * height;
}

void draw_step_axis(Markup& svg, const Axis& x, double y) {
  svg_line(svg, x.from(), y, x.to(), y, "axis");
  for (const double tick : x.ticks(6)) {
    svg_line(svg, x(tick), y, x(tick), y + 5, "axis");
    svg_text(svg, x(tick), y + 18, "tick middle", count_text(tick));
  }
  for (const double at : x.breaks()) {
    const std::string d =
        fmt::format("M{} {}l4 -10m3 0l-4 10", svg_number(x(at) - 4), svg_number(y + 5));
    svg.empty("path", {{"class", "break"}, {"d", d}});
  }
  svg_text(svg, x.from() - 16, y + 18, "axis-title end", "step");
}

double figure_height(const ReportLayer& layer) {
  double height = 34 + kCountHeight + 40;
  double lanes = 0;
  for (const std::string_view kind : kDrawnKinds) {
    lanes += std::any_of(layer.events.begin(), layer.events.end(),
                         [&](const ReportEvent& event) { return event.kind == kind; });
  }
  if (lanes > 0) height += kGap + lanes * kLaneHeight;
  if (!layer.lineage.empty()) {
    height += kGap + static_cast<double>(layer.lineage.size()) * row_height(layer.lineage.size());
  }
  return height;
}

}  // namespace

bool growth_is_focused(const ReportData& data, const ReportLayer& layer) {
  return focus_of(data, layer).on;
}

std::string growth_figure(const ReportData& data, const ReportLayer& layer) {
  const bool newborns = std::any_of(layer.lineage.begin(), layer.lineage.end(),
                                    [](const ReportExpert& expert) { return expert.parent >= 0; });
  if (!newborns && layer.events.empty()) return {};
  const Focus focus = focus_of(data, layer);
  const double steps = steps_of(data);
  const Axis x = focus.on ? Axis::focused(0, steps, focus.low, focus.high, 0.68, kLeft, kRight)
                          : Axis(0, steps, kLeft, kRight);
  const double height = figure_height(layer);
  const double floor = height - 30;
  Markup svg;
  open_svg(svg, kWidth, height,
           fmt::format("Layer {}: number of experts, events and lineage over training steps",
                       layer.index));
  if (data.phase_end > data.phase_begin) {
    const double from = x(std::max(data.phase_begin, 0.0));
    const double to = x(std::min(data.phase_end, steps));
    svg_rect(svg, from, 6, to - from, floor - 6, "band");
    svg_text(svg, from + 6, 20, "band-label", "expansion phase");
  }
  for (const double at : x.breaks()) svg_line(svg, x(at), 6, x(at), floor, "break-line");
  double at = draw_expert_count(svg, data, layer, x, 30);
  if (!layer.events.empty()) at = draw_event_lanes(svg, layer, x, at + kGap);
  if (!layer.lineage.empty()) draw_lineage(svg, data, layer, x, at + kGap);
  draw_step_axis(svg, x, floor);
  return svg.close().take();
}

}  // namespace offshoot
