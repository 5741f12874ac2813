// Rows of estimates with their intervals (a forest plot), in one panel or in several beside one
// another that share their rows. A value that is not finite is drawn nowhere; its text stays.
#pragma once

#include <limits>
#include <string>
#include <vector>

namespace offshoot {

struct ForestValue {
  double value = std::numeric_limits<double>::quiet_NaN();
  double low = std::numeric_limits<double>::quiet_NaN();  // NaN: no interval
  double high = std::numeric_limits<double>::quiet_NaN();
  std::string text = {};  // right of the panel
  std::string css = {};
};

struct ForestRow {
  std::string label;
  std::string css;                  // of the label
  std::string title;                // tooltip
  std::vector<ForestValue> values;  // one a panel
};

struct ForestGroup {
  std::string title;  // empty: none
  std::vector<ForestRow> rows;
};

struct ForestPanel {
  std::string title;
  std::string x_title;
  bool from_zero = false;  // the axis begins at 0
  bool zero_line = false;  // 0 is on the axis and marked, named so
  std::string zero_label = {};
  double text_width = 150;
};

struct ForestPlot {
  std::string description;  // for readers who cannot see the picture
  double width = 1040;
  double label_width = 250;
  std::vector<ForestPanel> panels;
  std::vector<ForestGroup> groups;
};

// The whole <svg> element. A bug check fails when a row has another number of values than there
// are panels.
std::string forest_plot(const ForestPlot& plot);

}  // namespace offshoot
