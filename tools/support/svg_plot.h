// Plots as static inline SVG: axes, decimated curves, direct labels, heat maps. Colours, fonts and
// line widths are CSS classes of the page that takes the picture; lengths are in user units, one of
// them a CSS pixel at full width. A value that is not finite is a gap, never a zero.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "tools/support/html.h"
#include "tools/support/points.h"

namespace offshoot {

// Data to user units, rising, piecewise linear: one piece, or three of which the middle is
// stretched.
class Axis {
 public:
  Axis(double low, double high, double from, double to);

  // [focus_low, focus_high] takes `share` of the length; what lies beside it shares the rest,
  // each side at least a fifth of it (nothing where there is no such side).
  static Axis focused(double low, double high, double focus_low, double focus_high, double share,
                      double from, double to);

  double operator()(double value) const;
  double low() const { return value_.front(); }
  double high() const { return value_.back(); }
  double from() const { return place_.front(); }
  double to() const { return place_.back(); }
  // Round numbers (1, 2 or 5 times a power of ten apart), about `count` of them; a focused axis
  // adds its ends and drops what would stand closer to another than 34 units.
  std::vector<double> ticks(int count) const;
  double tick_step(int count) const;
  // Inner boundaries of a focused axis, in data units.
  std::vector<double> breaks() const;

 private:
  Axis() = default;

  std::vector<double> value_;
  std::vector<double> place_;
};

// The `d` of a path through the points, to a tenth of a unit; a gap lifts the pen. `steps` holds
// each value until the next point (K over time).
std::string path_data(const std::vector<Point>& points, const Axis& x, const Axis& y, bool steps);

// Least displacement, kept in order, so that labels stand at least `gap` apart inside [low, high]
// (or overflow `high` evenly when there is no room).
std::vector<double> spread_labels(std::vector<double> wanted, double gap, double low, double high);

enum class CurveStyle { kLine, kRaw, kSteps, kDots };

struct Curve {
  std::string label;  // written at the curve's end; empty: none
  std::string css;    // class of line and label
  CurveStyle style = CurveStyle::kLine;
  std::vector<Point> points;
};

struct ReferenceLine {
  double y = std::numeric_limits<double>::quiet_NaN();
  std::string label;
  std::string css;
};

struct Band {
  double from = 0;
  double to = 0;
  std::string label;
};

struct LinePlot {
  std::string description;  // for readers who cannot see the picture
  double width = 1040;
  double height = 320;
  double right_margin = 190;  // room of the labels
  std::string x_title;
  std::string y_title;
  double x_low = 0;
  double x_high = 1;
  bool y_from_zero = false;
  int y_decimals = 3;  // in the tooltips
  std::vector<Curve> curves;
  std::vector<ReferenceLine> lines;
  std::vector<Band> bands;
};

// The whole <svg> element.
std::string line_plot(const LinePlot& plot);

struct HeatMap {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<double> values;  // [rows, columns], expected in [0, 1]
  std::vector<std::string> row_names;
  std::string column_name;  // "entity": tooltips read "expert 3, entity 4: 0.412"
  double cell_width = 30;
  double cell_height = 20;
  double full = 1;  // value of the darkest cell
};

// Draws cells and column numbers with the top left cell's corner at (left, top).
void draw_heat_map(Markup& svg, const HeatMap& map, double left, double top);

// Small pieces every picture is made of.
std::string svg_number(double value);
void open_svg(Markup& svg, double width, double height, std::string_view description);
void svg_text(Markup& svg, double x, double y, std::string_view css, std::string_view text);
void svg_line(Markup& svg, double x1, double y1, double x2, double y2, std::string_view css);
void svg_rect(Markup& svg, double x, double y, double width, double height, std::string_view css);

}  // namespace offshoot
