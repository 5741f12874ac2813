#include "tools/support/svg_forest.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "tools/support/display.h"
#include "tools/support/plot_axis.h"
#include "tools/support/svg_plot.h"
#include "tools/support/svg_scatter.h"

namespace offshoot {
namespace {

constexpr double kRow = 23;
constexpr double kGroup = 32;
constexpr double kBottom = 46;
constexpr double kGap = 24;

double top_of(const ForestPlot& plot) {
  const bool titled = std::ranges::any_of(plot.panels, [](const ForestPanel& panel) {
    return !panel.title.empty() || !panel.zero_label.empty();
  });
  return titled ? 40 : 12;
}

double rows_height(const ForestPlot& plot) {
  double height = 0;
  for (const ForestGroup& group : plot.groups) {
    if (group.rows.empty()) continue;
    height += (group.title.empty() ? 0 : kGroup) + kRow * static_cast<double>(group.rows.size());
  }
  return height;
}

Axis axis_of(const ForestPlot& plot, size_t panel, double from, double to) {
  DataRange range;
  for (const ForestGroup& group : plot.groups) {
    for (const ForestRow& row : group.rows) {
      const ForestValue& value = row.values[panel];
      for (const double x : {value.value, value.low, value.high}) range.take(x);
    }
  }
  if (plot.panels[panel].from_zero || plot.panels[panel].zero_line) range.take(0);
  if (range.empty()) range = {0, 1};
  const double room = 0.04 * std::max(range.high - range.low, 1e-9);
  const bool level = plot.panels[panel].from_zero && range.low == 0;
  return Axis(range.low - (level ? 0 : room), range.high + room, from, to);
}

void draw_value(Markup& svg, const ForestValue& value, const Axis& x, double y) {
  if (!std::isfinite(value.value)) return;
  if (std::isfinite(value.low) && std::isfinite(value.high)) {
    svg.empty("path", {{"class", "interval " + value.css},
                       {"d", fmt::format("M{0} {1}v8m0 -4H{2}m0 -4v8", svg_number(x(value.low)),
                                         svg_number(y - 4), svg_number(x(value.high)))}});
  }
  draw_shape(svg, MarkShape::kCircle, x(value.value), y, 4.2, value.css + " filled");
}

// The rows of one panel; the labels, too, in the first.
void draw_panel(Markup& svg, const ForestPlot& plot, size_t panel, const Axis& x, double text_at) {
  const ForestPanel& about = plot.panels[panel];
  const double top = top_of(plot);
  const double floor = top + rows_height(plot) + 6;
  if (!about.title.empty()) svg_text(svg, x.from(), 14, "panel-title", about.title);
  const int count = std::max(2, static_cast<int>((x.to() - x.from()) / 85));
  for (const double tick : x.ticks(count)) {
    svg_line(svg, x(tick), top, x(tick), floor, "grid");
    svg_text(svg, x(tick), floor + 17, "tick middle", tick_text(tick, x.tick_step(count)));
  }
  svg_line(svg, x.from(), floor, x.to(), floor, "axis");
  svg_text(svg, x.to(), floor + 36, "axis-title end", about.x_title);
  if (about.zero_line) {
    svg_line(svg, x(0), top - 4, x(0), floor, "zero");
    svg_text(svg, x(0), top - 9, "tick middle", about.zero_label);
  }
  double y = top;
  for (const ForestGroup& group : plot.groups) {
    if (group.rows.empty()) continue;
    if (!group.title.empty()) {
      if (panel == 0) svg_text(svg, 0, y + 20, "group-title", group.title);
      y += kGroup;
    }
    for (const ForestRow& row : group.rows) {
      const double middle = y + kRow / 2;
      svg.open("g");
      if (!row.title.empty()) svg.element("title", {}, row.title);
      if (panel == 0) {
        svg_rect(svg, 0, y, plot.width, kRow, "readout");
        const auto fits = static_cast<int64_t>(plot.label_width / 6.6);
        svg_text(svg, plot.label_width - 14, middle + 4, "row-label end " + row.css,
                 columns_of(row.label) > fits ? cut_middle(row.label, fits) : row.label);
      }
      draw_value(svg, row.values[panel], x, middle);
      svg_text(svg, text_at, middle + 4, "row-text " + row.values[panel].css,
               row.values[panel].text);
      svg.close();
      y += kRow;
    }
  }
}

}  // namespace

std::string forest_plot(const ForestPlot& plot) {
  for (const ForestGroup& group : plot.groups) {
    for (const ForestRow& row : group.rows) {
      OFFSHOOT_CHECK(row.values.size() == plot.panels.size(), "{} values for {} panels",
                     row.values.size(), plot.panels.size());
    }
  }
  Markup svg;
  open_svg(svg, plot.width, top_of(plot) + rows_height(plot) + 6 + kBottom, plot.description);
  const auto count = static_cast<double>(plot.panels.size());
  const double each = (plot.width - plot.label_width - kGap * (count - 1)) / std::max(count, 1.0);
  for (size_t panel = 0; panel < plot.panels.size(); ++panel) {
    const double from = plot.label_width + static_cast<double>(panel) * (each + kGap);
    const double to = from + each - plot.panels[panel].text_width;
    draw_panel(svg, plot, panel, axis_of(plot, panel, from, to), to + 12);
  }
  return svg.close().take();
}

}  // namespace offshoot
