#include "tools/support/svg_bars.h"

#include <algorithm>
#include <cmath>

#include "tools/support/display.h"
#include "tools/support/svg_plot.h"

namespace offshoot {
namespace {

constexpr double kRow = 30;
constexpr double kBar = 16;
constexpr double kBottom = 46;

bool shown(const BarPart& part) { return std::isfinite(part.value) && part.value > 0; }

double total(const BarRow& row) {
  double sum = 0;
  for (const BarPart& part : row.parts) sum += shown(part) ? part.value : 0;
  return sum;
}

void draw_key(Markup& svg, const BarPlot& plot, double y) {
  double x = plot.label_width;
  for (const BarKey& entry : plot.key) {
    svg_rect(svg, x, y - 10, 12, 12, "part " + entry.css);
    svg_text(svg, x + 18, y, "tick", entry.label);
    x += 42 + 6.6 * static_cast<double>(columns_of(entry.label));
  }
}

}  // namespace

std::string bar_plot(const BarPlot& plot) {
  const double title = plot.title.empty() ? 0 : 26;
  const double top = title + (plot.key.empty() ? 6 : 28);
  const double floor = top + kRow * static_cast<double>(plot.rows.size()) + 2;
  double most = 0;
  for (const BarRow& row : plot.rows) most = std::max(most, total(row));
  const Axis x(0, most > 0 ? most : 1, plot.label_width, plot.width - plot.right_margin);
  Markup svg;
  open_svg(svg, plot.width, floor + kBottom, plot.description);
  if (!plot.title.empty()) svg_text(svg, 0, 14, "panel-title", plot.title);
  draw_key(svg, plot, title + 14);
  for (const double tick : x.ticks(7)) {
    svg_line(svg, x(tick), top, x(tick), floor, "grid");
    svg_text(svg, x(tick), floor + 17, "tick middle", tick_text(tick, x.tick_step(7)));
  }
  for (size_t i = 0; i < plot.rows.size(); ++i) {
    const BarRow& row = plot.rows[i];
    const double y = top + kRow * static_cast<double>(i);
    const auto fits = static_cast<int64_t>(plot.label_width / 6.6);
    svg_text(svg, plot.label_width - 12, y + kRow / 2 + 4, "row-label end",
             columns_of(row.label) > fits ? cut_middle(row.label, fits) : row.label);
    double sum = 0;
    for (const BarPart& part : row.parts) {
      if (!shown(part)) continue;
      svg.open("rect", {{"class", "part " + part.css},
                        {"x", svg_number(x(sum))},
                        {"y", svg_number(y + (kRow - kBar) / 2)},
                        {"width", svg_number(std::max(x(sum + part.value) - x(sum) - 1, 0.6))},
                        {"height", svg_number(kBar)}});
      svg.element("title", {}, part.title).close();
      sum += part.value;
    }
    svg_text(svg, x(sum) + 10, y + kRow / 2 + 4, "row-text", row.text);
  }
  svg_line(svg, x.from(), floor, x.to(), floor, "axis");
  svg_text(svg, x.to(), floor + 36, "axis-title end", plot.x_title);
  return svg.close().take();
}

}  // namespace offshoot
