#include "tools/support/svg_scatter.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tools/support/display.h"

namespace offshoot {
namespace {

constexpr double kLeft = 56;
constexpr double kBottom = 42;
constexpr double kGap = 26;  // between the plots of a grid

// Of 12 px text, near enough to keep labels apart.
double text_width(const std::string& text) {
  return 6.6 * static_cast<double>(columns_of(displayable(text)));
}

double top_of(const ScatterPlot& plot) {
  return (plot.title.empty() ? 0 : 22) + (plot.y_title.empty() ? 8 : 26);
}

struct Axes {
  PlotAxis x;
  PlotAxis y;
};

PlotAxis x_axis(const ScatterPlot& plot, double from, double to) {
  DataRange range;
  bool zero = false;
  const bool log = plot.x_scale == Scale::kLog;
  const auto take = [&](double x) {
    zero = zero || x == 0;
    if (!log || x > 0) range.take(x);
  };
  for (const ScatterSeries& series : plot.series) {
    for (const ScatterPoint& point : series.points) {
      if (!std::isfinite(point.y)) continue;
      for (const double x : {point.x, point.x_low, point.x_high}) take(x);
    }
  }
  if (range.empty()) range = log ? DataRange{0.1, 1} : DataRange{0, 1};
  if (log) return PlotAxis::logarithmic(range.low, range.high, zero, from, to);
  const double room = 0.05 * std::max(range.high - range.low, 1e-3 * std::abs(range.high) + 1e-9);
  const double low = std::isfinite(plot.x_low) ? plot.x_low : range.low - room;
  const double high = std::isfinite(plot.x_high) ? plot.x_high : range.high + room;
  if (plot.x_focus_low < plot.x_focus_high) {
    return PlotAxis(Axis::focused(low, high, plot.x_focus_low, plot.x_focus_high, 0.66, from, to));
  }
  return PlotAxis(Axis(low, high, from, to));
}

PlotAxis y_axis(const ScatterPlot& plot, double from, double to) {
  DataRange range = y_range_of(plot);
  if (range.empty()) range = {0, 1};
  if (plot.y_from_zero) range.low = std::min(range.low, 0.0);
  const double room = 0.06 * std::max(range.high - range.low, 1e-3 * std::abs(range.high) + 1e-9);
  const bool level = plot.y_from_zero && range.low == 0;
  const double low = std::isfinite(plot.y_low) ? plot.y_low : range.low - (level ? 0 : room);
  const double high = std::isfinite(plot.y_high) ? plot.y_high : range.high + room;
  return PlotAxis(Axis(low, high, from, to));
}

void draw_break(Markup& svg, double x, double y) {
  const std::string d = fmt::format("M{} {}l4 -10m3 0l-4 10", svg_number(x - 4), svg_number(y + 5));
  svg.empty("path", {{"class", "break"}, {"d", d}});
}

void draw_frame(Markup& svg, const ScatterPlot& plot, const Axes& axes, double left, double top) {
  const double inner = top + top_of(plot);
  const double floor = top + plot.height - kBottom;
  if (!plot.title.empty()) svg_text(svg, left, top + 14, "panel-title", plot.title);
  if (!plot.y_title.empty()) svg_text(svg, left, inner - 13, "axis-title", plot.y_title);
  const int count = std::max(2, static_cast<int>((floor - inner) / 52));
  for (const Tick& tick : axes.y.ticks(count)) {
    if (plot.y_whole && tick.value != std::floor(tick.value)) continue;
    const double y = axes.y(tick.value);
    svg_line(svg, axes.x.from(), y, axes.x.to(), y, "grid");
    svg_text(svg, axes.x.from() - 8, y + 4, "tick end", tick.text);
  }
  svg_line(svg, axes.x.from(), floor, axes.x.to(), floor, "axis");
  std::vector<Tick> ticks;
  for (const double value : plot.x_ticks) ticks.push_back({value, value_text(value)});
  const double length = axes.x.to() - axes.x.from();
  const bool stretched = !axes.x.breaks().empty();
  if (ticks.empty()) {
    ticks = axes.x.ticks(std::clamp(static_cast<int>(length / (stretched ? 110 : 80)), 2, 10));
  }
  double last = -1e9;
  for (const Tick& tick : ticks) {
    const double x = axes.x(tick.value);
    svg_line(svg, x, floor, x, floor + 5, "axis");
    const double half = text_width(tick.text) / 2;
    if (x - half < last + 4) continue;  // a mark without its number, as there is no room
    svg_text(svg, x, floor + 18, "tick middle", tick.text);
    last = x + half;
  }
  if (std::isfinite(axes.x.zero_break())) draw_break(svg, axes.x.zero_break(), floor);
  for (const double x : axes.x.breaks()) draw_break(svg, x, floor);
  svg_text(svg, axes.x.to(), floor + 36, "axis-title end", plot.x_title);
}

void draw_bars(Markup& svg, const ScatterPoint& point, const Axes& axes, const std::string& css) {
  const double x = axes.x(point.x), y = axes.y(point.y);
  const double x_low = axes.x(point.x_low), x_high = axes.x(point.x_high);
  const double y_low = axes.y(point.y_low), y_high = axes.y(point.y_high);
  if (std::isfinite(y_low) && std::isfinite(y_high)) {
    svg.empty("path", {{"class", "error " + css},
                       {"d", fmt::format("M{0} {1}h6m-3 0V{2}m-3 0h6", svg_number(x - 3),
                                         svg_number(y_low), svg_number(y_high))}});
  }
  if (std::isfinite(x_low) && std::isfinite(x_high) && x_low != x_high) {
    svg.empty("path", {{"class", "error " + css},
                       {"d", fmt::format("M{0} {1}v6m0 -3H{2}m0 -3v6", svg_number(x_low),
                                         svg_number(y - 3), svg_number(x_high))}});
  }
}

void draw_series(Markup& svg, const ScatterSeries& series, const Axes& axes) {
  const std::string css =
      series.css + (series.faint ? " faint" : "") + (series.filled ? " filled" : "");
  std::vector<Point> places;
  for (const ScatterPoint& point : series.points) {
    places.push_back({axes.x(point.x), axes.y(point.y)});
  }
  if (series.joined && std::ranges::any_of(places, drawn)) {
    // The places are in user units already.
    const Axis same(0, 1, 0, 1);
    svg.empty("path", {{"class", (series.faint ? "raw " : "curve ") + css},
                       {"d", path_data(places, same, same, series.steps)}});
  }
  for (size_t i = 0; i < places.size(); ++i) {
    if (!drawn(places[i])) continue;
    if (series.shape == MarkShape::kNone) continue;
    const ScatterPoint& point = series.points[i];
    svg.open("g");
    if (!point.title.empty()) svg.element("title", {}, point.title);
    draw_bars(svg, point, axes, css);
    draw_shape(svg, series.shape, places[i].x, places[i].y, series.faint ? 2.2 : 4.2, css);
    svg.close();
  }
}

struct Box {
  double left, top, right, bottom;
  bool meets(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

// What marks, error bars and lines cover; a line by small boxes along it.
void take_places(const ScatterSeries& series, const Axes& axes, std::vector<Box>& taken) {
  const auto line = [&](double x1, double y1, double x2, double y2) {
    const double length = std::hypot(x2 - x1, y2 - y1);
    for (double at = 0; at <= length; at += 8) {
      const double x = x1 + (x2 - x1) * at / std::max(length, 1e-9);
      const double y = y1 + (y2 - y1) * at / std::max(length, 1e-9);
      taken.push_back({x - 1, y - 1, x + 1, y + 1});
    }
  };
  Point before{kNoValue, kNoValue};
  for (const ScatterPoint& point : series.points) {
    const Point at{axes.x(point.x), axes.y(point.y)};
    if (drawn(at)) {
      if (series.shape != MarkShape::kNone) {
        taken.push_back({at.x - 5, at.y - 5, at.x + 5, at.y + 5});
      }
      const double low = axes.y(point.y_low), high = axes.y(point.y_high);
      if (std::isfinite(low) && std::isfinite(high))
        taken.push_back({at.x - 3, high, at.x + 3, low});
      if (series.joined && drawn(before)) {
        const double corner = series.steps ? at.x : before.x;
        line(before.x, before.y, corner, before.y);
        line(corner, before.y, at.x, at.y);
      }
    }
    before = at;
  }
}

// Each label at the first of eight places around its mark where it covers no mark and no other
// label; nowhere when all are taken: the tooltip has it still.
void draw_point_labels(Markup& svg, const ScatterPlot& plot, const Axes& axes, double right) {
  std::vector<Box> taken;
  for (const ScatterSeries& series : plot.series) {
    if (!series.faint) take_places(series, axes, taken);
  }
  for (const ScatterSeries& series : plot.series) {
    for (const ScatterPoint& point : series.points) {
      const double x = axes.x(point.x), y = axes.y(point.y);
      if (point.label.empty() || !drawn({x, y})) continue;
      const double width = text_width(point.label);
      for (const auto& [dx, dy] : {std::pair(9.0, 4.0),
                                   {9.0, -9.0},
                                   {9.0, 17.0},
                                   {-9.0 - width, 4.0},
                                   {-9.0 - width, -9.0},
                                   {-9.0 - width, 17.0},
                                   {-width / 2, -10.0},
                                   {-width / 2, 20.0}}) {
        const Box box{x + dx, y + dy - 11, x + dx + width, y + dy + 3};
        const bool free = box.left > axes.x.from() && box.right < right &&
                          box.top > axes.y.to() - 8 && box.bottom < axes.y.from() &&
                          std::ranges::none_of(taken, [&](const Box& b) { return b.meets(box); });
        if (!free) continue;
        svg_text(svg, x + dx, y + dy, "point-label " + series.css, point.label);
        taken.push_back(box);
        break;
      }
    }
  }
}

struct KeyEntry {
  double y = 0;
  std::string text;
  const ScatterSeries* series = nullptr;  // null: a level line
  std::string css;
};

void draw_key(Markup& svg, const ScatterPlot& plot, const Axes& axes, double top) {
  std::vector<KeyEntry> entries;
  for (const ScatterSeries& series : plot.series) {
    if (series.label.empty()) continue;
    // Beside the end of a curve, and at the height of the middle of loose marks.
    DataRange range;
    double end = kNoValue;
    for (const ScatterPoint& point : series.points) {
      const double y = axes.y(point.y);
      range.take(y);
      if (std::isfinite(y)) end = y;
    }
    if (range.empty()) continue;
    entries.push_back(
        {series.joined ? end : (range.low + range.high) / 2, series.label, &series, series.css});
  }
  for (const ReferenceLine& line : plot.lines) {
    if (std::isfinite(line.y)) entries.push_back({axes.y(line.y), line.label, nullptr, line.css});
  }
  std::ranges::stable_sort(entries, {}, &KeyEntry::y);
  std::vector<double> wanted;
  for (const KeyEntry& entry : entries) wanted.push_back(entry.y);
  const double inner = top + top_of(plot);
  const std::vector<double> at =
      spread_labels(wanted, 18, inner, std::max(inner, top + plot.height - kBottom + 8));
  const double x = axes.x.to() + 14;
  for (size_t i = 0; i < entries.size(); ++i) {
    const KeyEntry& entry = entries[i];
    const std::string css = entry.css + (entry.series && entry.series->filled ? " filled" : "");
    if (entry.series == nullptr) {
      svg_line(svg, x, at[i], x + 18, at[i], "reference " + css);
    } else {
      if (entry.series->joined) svg_line(svg, x, at[i], x + 18, at[i], "curve " + css);
      draw_shape(svg, entry.series->shape, x + 9, at[i], 4.2, css);
    }
    svg_text(svg, x + 25, at[i] + 4, "label " + entry.css, entry.text);
  }
}

void draw_plot(Markup& svg, const ScatterPlot& plot, double left, double top) {
  const double inner = top + top_of(plot);
  const double floor = top + plot.height - kBottom;
  const double right = left + plot.width - plot.right_margin;
  const Axes axes{x_axis(plot, left + kLeft, right), y_axis(plot, floor, inner)};
  draw_frame(svg, plot, axes, left, top);
  for (const Band& vertical : plot.verticals) {
    const double x = axes.x(vertical.from);
    if (!std::isfinite(x)) continue;
    svg_line(svg, x, inner - 4, x, floor, "stage");
    svg_text(svg, x + 4, inner + 5, "band-label", vertical.label);
  }
  for (const ReferenceLine& line : plot.lines) {
    const double y = axes.y(line.y);
    if (!std::isfinite(y)) continue;
    svg_line(svg, axes.x.from(), y, axes.x.to(), y, "reference " + line.css);
  }
  // Single runs lie behind their means.
  for (const bool faint : {true, false}) {
    for (const ScatterSeries& series : plot.series) {
      if (series.faint == faint) draw_series(svg, series, axes);
    }
  }
  draw_point_labels(svg, plot, axes, right);
  draw_key(svg, plot, axes, top);
}

}  // namespace

DataRange y_range_of(const ScatterPlot& plot) {
  DataRange range;
  for (const ScatterSeries& series : plot.series) {
    for (const ScatterPoint& point : series.points) {
      if (!std::isfinite(point.x)) continue;
      for (const double y : {point.y, point.y_low, point.y_high}) range.take(y);
    }
  }
  for (const ReferenceLine& line : plot.lines) range.take(line.y);
  return range;
}

void draw_shape(Markup& svg, MarkShape shape, double x, double y, double size,
                const std::string& css) {
  const std::string name = "mark-shape " + css;
  if (shape == MarkShape::kNone) return;
  if (shape == MarkShape::kCircle) {
    svg.empty(
        "circle",
        {{"class", name}, {"cx", svg_number(x)}, {"cy", svg_number(y)}, {"r", svg_number(size)}});
    return;
  }
  // Areas alike: a square as wide as the circle looks larger.
  const std::string half = svg_number(size * (shape == MarkShape::kSquare ? 0.9 : 1.25));
  const std::string whole = svg_number(2 * size * (shape == MarkShape::kSquare ? 0.9 : 1.25));
  const std::string px = svg_number(x), py = svg_number(y);
  std::string d;
  if (shape == MarkShape::kSquare) {
    d = fmt::format("M{0} {1}m-{2} -{2}h{3}v{3}h-{3}z", px, py, half, whole);
  } else if (shape == MarkShape::kDiamond) {
    d = fmt::format("M{0} {1}m0 -{2}l{2} {2}l-{2} {2}l-{2} -{2}z", px, py, half);
  } else {
    d = fmt::format("M{0} {1}m0 -{2}l{2} {3}h-{3}z", px, py, half, whole);
  }
  svg.empty("path", {{"class", name}, {"d", d}});
}

std::string scatter_plot(const ScatterPlot& plot) {
  Markup svg;
  open_svg(svg, plot.width, plot.height, plot.description);
  draw_plot(svg, plot, 0, 0);
  return svg.close().take();
}

std::string scatter_grid(const std::string& description, const std::vector<ScatterPlot>& plots,
                         int64_t columns) {
  const double width = plots.empty() ? 1 : plots.front().width;
  const double height = plots.empty() ? 1 : plots.front().height;
  const auto count = static_cast<int64_t>(plots.size());
  const int64_t rows = (count + columns - 1) / columns;
  const auto across = static_cast<double>(columns);
  Markup svg;
  open_svg(svg, across * width + (across - 1) * kGap,
           static_cast<double>(rows) * (height + kGap) - kGap, description);
  for (int64_t i = 0; i < count; ++i) {
    draw_plot(svg, plots[static_cast<size_t>(i)], static_cast<double>(i % columns) * (width + kGap),
              static_cast<double>(i / columns) * (height + kGap));
  }
  return svg.close().take();
}

}  // namespace offshoot
