#include "tools/support/svg_plot.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kLeft = 52;
constexpr double kTop = 26;
constexpr double kBottom = 40;
constexpr int64_t kReadouts = 60;

double round_step(double span, int count) {
  const double rough = span / std::max(count, 1);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double lead = rough / power;
  return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

struct Range {
  double low = kNaN;
  double high = kNaN;
};

Range y_range(const LinePlot& plot) {
  Range range;
  const auto take = [&](double y) {
    if (!std::isfinite(y)) return;
    range.low = std::isfinite(range.low) ? std::min(range.low, y) : y;
    range.high = std::isfinite(range.high) ? std::max(range.high, y) : y;
  };
  for (const Curve& curve : plot.curves) {
    for (const Point& point : curve.points) take(point.y);
  }
  for (const ReferenceLine& line : plot.lines) take(line.y);
  if (!std::isfinite(range.low)) return {0, 1};
  if (plot.y_from_zero) range.low = std::min(range.low, 0.0);
  const double room = 0.06 * std::max(range.high - range.low, 1e-3 * std::abs(range.high) + 1e-9);
  if (!plot.y_from_zero) range.low -= room;
  range.high += room;
  return range;
}

void draw_axes(Markup& svg, const LinePlot& plot, const Axis& x, const Axis& y) {
  const int y_ticks = std::max(2, static_cast<int>(plot.height / 55));
  for (const double tick : y.ticks(y_ticks)) {
    svg_line(svg, x.from(), y(tick), x.to(), y(tick), "grid");
    svg_text(svg, x.from() - 8, y(tick) + 4, "tick end", tick_text(tick, y.tick_step(y_ticks)));
  }
  const double floor = plot.height - kBottom;
  svg_line(svg, x.from(), floor, x.to(), floor, "axis");
  for (const double tick : x.ticks(8)) {
    svg_line(svg, x(tick), floor, x(tick), floor + 5, "axis");
    svg_text(svg, x(tick), floor + 18, "tick middle", tick_text(tick, x.tick_step(8)));
  }
  svg_text(svg, x.to(), plot.height - 4, "axis-title end", plot.x_title);
  svg_text(svg, 0, 12, "axis-title", plot.y_title);
}

void draw_curve(Markup& svg, const Curve& curve, const Axis& x, const Axis& y) {
  if (curve.style == CurveStyle::kDots) {
    for (const Point& point : curve.points) {
      if (!drawn(point)) continue;
      svg.empty("circle", {{"class", "dot " + curve.css},
                           {"cx", svg_number(x(point.x))},
                           {"cy", svg_number(y(point.y))},
                           {"r", "3.5"}});
    }
    return;
  }
  const std::string weight = curve.style == CurveStyle::kRaw ? "raw " : "curve ";
  svg.empty("path", {{"class", weight + curve.css},
                     {"d", path_data(curve.points, x, y, curve.style == CurveStyle::kSteps)}});
}

struct EndLabel {
  double y = 0;
  std::string text;
  std::string css;
  double start = 0;
};

void draw_labels(Markup& svg, const LinePlot& plot, const Axis& x, const Axis& y) {
  std::vector<EndLabel> labels;
  for (const Curve& curve : plot.curves) {
    const auto last = std::find_if(curve.points.rbegin(), curve.points.rend(), drawn);
    if (curve.label.empty() || last == curve.points.rend()) continue;
    labels.push_back({y(last->y), curve.label, curve.css, x(last->x)});
  }
  for (const ReferenceLine& line : plot.lines) {
    if (std::isfinite(line.y)) labels.push_back({y(line.y), line.label, line.css, x.to()});
  }
  std::stable_sort(labels.begin(), labels.end(),
                   [](const EndLabel& a, const EndLabel& b) { return a.y < b.y; });
  std::vector<double> wanted;
  for (const EndLabel& label : labels) wanted.push_back(label.y);
  const std::vector<double> at = spread_labels(wanted, 16, kTop, plot.height - kBottom + 4);
  for (size_t i = 0; i < labels.size(); ++i) {
    if (std::abs(at[i] - wanted[i]) > 3) {
      svg_line(svg, x.to() + 2, wanted[i], x.to() + 12, at[i], "leader");
    }
    svg_text(svg, x.to() + 15, at[i] + 4, "label " + labels[i].css, labels[i].text);
  }
}

// Transparent columns whose tooltips read the curves out.
void draw_readouts(Markup& svg, const LinePlot& plot, const Axis& x) {
  const double width = (x.high() - x.low()) / static_cast<double>(kReadouts);
  for (int64_t i = 0; i < kReadouts; ++i) {
    const double from = x.low() + width * static_cast<double>(i);
    std::string title;
    for (const Curve& curve : plot.curves) {
      double sum = 0;
      int64_t count = 0;
      for (const Point& point : curve.points) {
        if (!drawn(point) || point.x < from || point.x >= from + width) continue;
        sum += point.y;
        ++count;
      }
      if (count == 0 || curve.label.empty()) continue;
      title += fmt::format("\n{}: {}", curve.label.substr(0, curve.label.find("  ")),
                           number_text(sum / static_cast<double>(count), plot.y_decimals));
    }
    if (title.empty()) continue;
    svg.open("rect", {{"class", "readout"},
                      {"x", svg_number(x(from))},
                      {"y", svg_number(kTop)},
                      {"width", svg_number(x(from + width) - x(from))},
                      {"height", svg_number(plot.height - kTop - kBottom)}});
    svg.element("title", {},
                fmt::format("steps {} to {}{}", count_text(std::ceil(from)),
                            count_text(std::floor(from + width)), title));
    svg.close();
  }
}

}  // namespace

Axis::Axis(double low, double high, double from, double to) {
  if (!(high > low)) high = low + 1;
  value_ = {low, high};
  place_ = {from, to};
}

Axis Axis::focused(double low, double high, double focus_low, double focus_high, double share,
                   double from, double to) {
  focus_low = std::max(focus_low, low);
  focus_high = std::min(focus_high, high);
  if (!(focus_high > focus_low) || (focus_low == low && focus_high == high)) {
    return Axis(low, high, from, to);
  }
  const double rest = (1 - share) * (to - from);
  const double before = focus_low - low;
  const double after = high - focus_high;
  double left = rest * before / (before + after);
  if (before > 0 && after > 0) left = std::clamp(left, 0.2 * rest, 0.8 * rest);
  Axis axis;
  axis.value_ = {low, focus_low, focus_high, high};
  axis.place_ = {from, from + left, to - (rest - left), to};
  return axis;
}

double Axis::operator()(double value) const {
  size_t piece = 0;
  while (piece + 2 < value_.size() && value > value_[piece + 1]) ++piece;
  const double span = value_[piece + 1] - value_[piece];
  const double share = span > 0 ? (value - value_[piece]) / span : 0;
  return place_[piece] + share * (place_[piece + 1] - place_[piece]);
}

double Axis::tick_step(int count) const {
  const bool focus = value_.size() == 4;
  return focus ? std::max(1.0, round_step(value_[2] - value_[1], count))
               : round_step(value_.back() - value_.front(), count);
}

std::vector<double> Axis::ticks(int count) const {
  const bool focus = value_.size() == 4;
  const double step = tick_step(count);
  const double first = focus ? value_[1] : value_.front();
  const double last = focus ? value_[2] : value_.back();
  std::vector<double> ticks;
  if (focus) ticks = {value_.front(), value_.back()};
  const auto room = [&](double tick) {
    return std::all_of(ticks.begin(), ticks.end(), [&](double other) {
      return !focus || std::abs((*this)(other) - (*this)(tick)) >= 34;
    });
  };
  const auto count_of = static_cast<int64_t>(std::floor((last - first) / step + 1e-9)) + 1;
  for (int64_t i = 0; i <= count_of; ++i) {
    const double tick = step * (std::ceil(first / step - 1e-9) + static_cast<double>(i));
    if (tick <= last + 1e-9 * step && room(tick)) ticks.push_back(tick);
  }
  std::sort(ticks.begin(), ticks.end());
  return ticks;
}

std::vector<double> Axis::breaks() const {
  std::vector<double> inner;
  for (size_t i = 1; i + 1 < value_.size(); ++i) {
    if (value_[i] > low() && value_[i] < high()) inner.push_back(value_[i]);
  }
  return inner;
}

std::string path_data(const std::vector<Point>& points, const Axis& x, const Axis& y, bool steps) {
  std::string d;
  bool down = false;
  for (size_t i = 0; i < points.size(); ++i) {
    if (!drawn(points[i])) {
      down = false;
      continue;
    }
    const std::string px = svg_number(x(points[i].x));
    const std::string py = svg_number(y(points[i].y));
    if (!down) {
      d += fmt::format("M{} {}", px, py);
      // A lone point has no line: a stroke without length shows as its round cap.
      if (i + 1 == points.size() || !drawn(points[i + 1])) d += "h0";
    } else if (steps) {
      d += fmt::format("H{}V{}", px, py);
    } else {
      d += fmt::format("L{} {}", px, py);
    }
    down = true;
  }
  return d;
}

std::vector<double> spread_labels(std::vector<double> wanted, double gap, double low, double high) {
  // Push down where two touch, then push up from the bottom edge; the order stays.
  for (size_t i = 0; i < wanted.size(); ++i) {
    wanted[i] = std::max(wanted[i], i == 0 ? low : wanted[i - 1] + gap);
  }
  for (size_t i = wanted.size(); i-- > 0;) {
    wanted[i] = std::min(wanted[i], i + 1 == wanted.size() ? high : wanted[i + 1] - gap);
  }
  return wanted;
}

std::string line_plot(const LinePlot& plot) {
  const Axis x(plot.x_low, plot.x_high, kLeft, plot.width - plot.right_margin);
  const Range range = y_range(plot);
  const Axis y(range.low, range.high, plot.height - kBottom, kTop);
  Markup svg;
  open_svg(svg, plot.width, plot.height, plot.description);
  for (const Band& band : plot.bands) {
    const double from = x(std::max(band.from, x.low()));
    const double to = x(std::min(band.to, x.high()));
    if (!(to > from)) continue;
    svg_rect(svg, from, kTop, to - from, plot.height - kTop - kBottom, "band");
    // Beside the band where it is too narrow for its name.
    const bool inside = to - from > 12 + 6.5 * static_cast<double>(band.label.size());
    svg_text(svg, (inside ? from : to) + 6, kTop + 14, "band-label", band.label);
  }
  draw_axes(svg, plot, x, y);
  for (const ReferenceLine& line : plot.lines) {
    if (std::isfinite(line.y)) {
      svg_line(svg, x.from(), y(line.y), x.to(), y(line.y), "reference " + line.css);
    }
  }
  for (const Curve& curve : plot.curves) draw_curve(svg, curve, x, y);
  draw_labels(svg, plot, x, y);
  draw_readouts(svg, plot, x);
  return svg.close().take();
}

void draw_heat_map(Markup& svg, const HeatMap& map, double left, double top) {
  OFFSHOOT_CHECK(static_cast<int64_t>(map.values.size()) == map.rows * map.columns,
                 "{} values for {} x {} cells", map.values.size(), map.rows, map.columns);
  const bool numbers = map.cell_width >= 26 && map.cell_height >= 13;
  const int64_t every = map.cell_width >= 14 ? 1 : 5;
  for (int64_t c = 0; c < map.columns; c += every) {
    const double x = left + (static_cast<double>(c) + 0.5) * map.cell_width;
    svg_text(svg, x, top - 7, "tick middle", fmt::format("{}", c));
  }
  for (int64_t r = 0; r < map.rows; ++r) {
    const double y = top + static_cast<double>(r) * map.cell_height;
    for (int64_t c = 0; c < map.columns; ++c) {
      const double x = left + static_cast<double>(c) * map.cell_width;
      const double value = map.values[static_cast<size_t>(r * map.columns + c)];
      const bool missing = !std::isfinite(value);
      const double depth = missing ? 0 : std::clamp(value / map.full, 0.0, 1.0);
      svg.open("rect", {{"class", missing ? "cell missing" : "cell"},
                        {"x", svg_number(x + 0.5)},
                        {"y", svg_number(y + 0.5)},
                        {"width", svg_number(map.cell_width - 1)},
                        {"height", svg_number(map.cell_height - 1)},
                        {"fill-opacity", fmt::format("{:.2f}", 0.04 + 0.96 * depth)}});
      svg.element("title", {},
                  fmt::format("{}, {} {}: {}", map.row_names[static_cast<size_t>(r)],
                              map.column_name, c, number_text(value, 3)));
      svg.close();
      if (!numbers || (!missing && depth < 0.1)) continue;
      const std::string text = missing ? std::string(kMissing) : number_text(value, 2);
      svg_text(svg, x + map.cell_width / 2, y + map.cell_height / 2 + 3.5,
               depth > 0.8   ? "cell-text inverse"
               : depth > 0.6 ? "cell-text between"
                             : "cell-text",
               text.rfind("0.", 0) == 0 ? text.substr(1) : text);
    }
  }
}

std::string svg_number(double value) {
  std::string digits = fmt::format("{:.1f}", value);
  if (digits.ends_with(".0")) digits.resize(digits.size() - 2);
  return digits == "-0" ? "0" : digits;
}

void open_svg(Markup& svg, double width, double height, std::string_view description) {
  svg.open("svg", {{"viewBox", fmt::format("0 0 {} {}", svg_number(width), svg_number(height))},
                   {"width", svg_number(width)},
                   {"height", svg_number(height)},
                   {"role", "img"},
                   {"aria-label", std::string(description)}});
}

void svg_text(Markup& svg, double x, double y, std::string_view css, std::string_view text) {
  svg.element("text", {{"class", std::string(css)}, {"x", svg_number(x)}, {"y", svg_number(y)}},
              text);
}

void svg_line(Markup& svg, double x1, double y1, double x2, double y2, std::string_view css) {
  svg.empty("line", {{"class", std::string(css)},
                     {"x1", svg_number(x1)},
                     {"y1", svg_number(y1)},
                     {"x2", svg_number(x2)},
                     {"y2", svg_number(y2)}});
}

void svg_rect(Markup& svg, double x, double y, double width, double height, std::string_view css) {
  svg.empty("rect", {{"class", std::string(css)},
                     {"x", svg_number(x)},
                     {"y", svg_number(y)},
                     {"width", svg_number(width)},
                     {"height", svg_number(height)}});
}

}  // namespace offshoot
