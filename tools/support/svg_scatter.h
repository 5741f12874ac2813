// Plots of measured points: marks with error bars, joined or not, on linear or logarithmic axes;
// several of them side by side in one picture. Colours are CSS classes of the page, shapes are the
// marks' own. A value that is not finite is a gap, never a zero.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tools/support/html.h"
#include "tools/support/plot_axis.h"
#include "tools/support/svg_plot.h"

namespace offshoot {

inline constexpr double kNoValue = std::numeric_limits<double>::quiet_NaN();

struct ScatterPoint {
  double x = kNoValue;
  double y = kNoValue;
  // Ends of the error bars; none where they are NaN.
  double x_low = kNoValue;
  double x_high = kNoValue;
  double y_low = kNoValue;
  double y_high = kNoValue;
  std::string title = {};  // tooltip
  std::string label = {};  // beside the mark, where there is room
};

enum class MarkShape { kCircle, kSquare, kDiamond, kTriangle, kNone };

struct ScatterSeries {
  std::string label = {};  // in the key; empty: not in the key
  std::string css;         // class of marks, lines and label
  MarkShape shape = MarkShape::kCircle;
  bool joined = false;  // by lines
  bool steps = false;   // joined, each value held until the next point
  bool faint = false;   // thin lines and small pale marks: single runs behind their mean
  bool filled = false;
  std::vector<ScatterPoint> points = {};
};

struct ScatterPlot {
  std::string description;  // for readers who cannot see the picture
  std::string title;
  std::string x_title;
  std::string y_title;
  double width = 1040;
  double height = 380;
  double right_margin = 190;  // room of the key
  Scale x_scale = Scale::kLinear;
  // NaN: as the data ask for.
  double x_low = kNoValue;
  double x_high = kNoValue;
  double y_low = kNoValue;
  double y_high = kNoValue;
  bool y_from_zero = false;
  bool y_whole = false;         // ticks at whole numbers only
  std::vector<double> x_ticks;  // in place of round ones
  double x_focus_low = kNoValue;
  double x_focus_high = kNoValue;  // a linear x axis is stretched between these
  std::vector<ScatterSeries> series;
  std::vector<ReferenceLine> lines;  // level
  std::vector<Band> verticals;       // lines at `from`, with their label; `to` is not looked at
};

// The range of y that the plot's points, bars and lines take.
DataRange y_range_of(const ScatterPlot& plot);

// The whole <svg> element.
std::string scatter_plot(const ScatterPlot& plot);

// Plots of equal size in rows of `columns`, as one <svg> element.
std::string scatter_grid(const std::string& description, const std::vector<ScatterPlot>& plots,
                         int64_t columns);

// A mark with its middle at (x, y); `size` is half its width.
void draw_shape(Markup& svg, MarkShape shape, double x, double y, double size,
                const std::string& css);

}  // namespace offshoot
