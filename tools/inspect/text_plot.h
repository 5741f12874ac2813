// A curve in text: braille dots, two across and four down in each character.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/support/points.h"

namespace offshoot {

struct TextPlot {
  int64_t width = 80;   // columns of the whole picture
  int64_t height = 12;  // lines of the plot without its axis
  bool steps = false;   // holds each value until the next
  double x_low = 0;
  double x_high = 1;
  std::vector<Point> curve;
  std::vector<Point> marks;  // drawn as circles over the curve
};

// number_text() (tools/support/html.h); from a million on "1.2e+06", which is never long.
std::string figure_text(double value, int decimals);

// Lines that end in '\n': the plot with its values on the left, an axis with steps below. A point
// that is not finite is a gap; without any the text is empty. All values equal: one line says so.
std::string text_plot(const TextPlot& plot);

}  // namespace offshoot
