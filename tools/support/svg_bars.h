// Level bars of parts, one below another on one axis that begins at 0. A part that is not finite
// or not above 0 is left out.
#pragma once

#include <string>
#include <vector>

namespace offshoot {

struct BarPart {
  double value = 0;
  std::string css;
  std::string title;  // tooltip
};

struct BarRow {
  std::string label;
  std::vector<BarPart> parts;
  std::string text;  // right of the bar
};

struct BarKey {
  std::string label;
  std::string css;
};

struct BarPlot {
  std::string description;  // for readers who cannot see the picture
  std::string title;
  std::string x_title;
  double width = 1040;
  double label_width = 250;
  double right_margin = 210;  // room of the longest bar's text
  std::vector<BarKey> key;
  std::vector<BarRow> rows;
};

// The whole <svg> element.
std::string bar_plot(const BarPlot& plot);

}  // namespace offshoot
