#include "tools/inspect/text_plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tools/support/display.h"
#include "tools/support/html.h"
#include "tools/support/svg_plot.h"

namespace offshoot {
namespace {

constexpr int64_t kDotsAcross = 2;
constexpr int64_t kDotsDown = 4;
constexpr int64_t kNarrowest = 10;
constexpr double kMost = 1e6;     // from here on numbers have exponents
constexpr double kEqual = 1e-12;  // what rounding makes of equal numbers, relative

// Characters of dots, row by row from the top.
class Canvas {
 public:
  Canvas(int64_t columns, int64_t rows)
      : columns_(columns),
        rows_(rows),
        dots_(static_cast<size_t>(columns * rows), 0),
        marks_(dots_.size(), 0) {}

  // In dots, from the top left.
  void dot(int64_t x, int64_t y) {
    if (x < 0 || y < 0 || x >= columns_ * kDotsAcross || y >= rows_ * kDotsDown) return;
    // Unicode numbers the dots of a column 1 2 3 7 and 4 5 6 8.
    static constexpr uint8_t kBits[kDotsDown][kDotsAcross] = {
        {0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    dots_[cell(x, y)] |= kBits[y % kDotsDown][x % kDotsAcross];
  }
  void mark(int64_t x, int64_t y) {
    if (x < 0 || y < 0 || x >= columns_ * kDotsAcross || y >= rows_ * kDotsDown) return;
    marks_[cell(x, y)] = 1;
  }
  void line(int64_t x1, int64_t y1, int64_t x2, int64_t y2) {
    const int64_t count = std::max<int64_t>({1, std::abs(x2 - x1), std::abs(y2 - y1)});
    for (int64_t i = 0; i <= count; ++i) {
      dot(x1 + std::llround(static_cast<double>((x2 - x1) * i) / static_cast<double>(count)),
          y1 + std::llround(static_cast<double>((y2 - y1) * i) / static_cast<double>(count)));
    }
  }

  std::string row(int64_t r) const {
    std::string text;
    for (int64_t c = 0; c < columns_; ++c) {
      const auto at = static_cast<size_t>(r * columns_ + c);
      const uint8_t bits = dots_[at];
      if (marks_[at] != 0) {
        text += "○";
      } else if (bits == 0) {
        text += ' ';
      } else {  // U+2800 and the bits, in UTF-8
        text += '\xe2';
        text += static_cast<char>(0xa0 | bits >> 6);
        text += static_cast<char>(0x80 | (bits & 0x3f));
      }
    }
    return text;
  }

 private:
  size_t cell(int64_t x, int64_t y) const {
    return static_cast<size_t>(y / kDotsDown * columns_ + x / kDotsAcross);
  }

  int64_t columns_;
  int64_t rows_;
  std::vector<uint8_t> dots_;
  std::vector<uint8_t> marks_;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
};

Range y_range(const TextPlot& plot) {
  Range range;
  for (const auto* points : {&plot.curve, &plot.marks}) {
    for (const Point& point : *points) {
      if (!drawn(point)) continue;
      range.low = std::min(range.low, point.y);
      range.high = std::max(range.high, point.y);
    }
  }
  return range;
}

Range with_room(const Range& range) {
  const double room = 0.04 * std::max(range.high - range.low, 1e-3 * std::abs(range.high) + 1e-9);
  return {range.low - room, range.high + room};
}

int64_t round_to_dot(double place) { return std::llround(place); }

void draw_curve(Canvas& canvas, const TextPlot& plot, const Axis& x, const Axis& y) {
  const Point* before = nullptr;
  for (const Point& point : plot.curve) {
    if (!drawn(point)) {
      before = nullptr;
      continue;
    }
    const int64_t px = round_to_dot(x(point.x)), py = round_to_dot(y(point.y));
    if (before == nullptr) {
      canvas.dot(px, py);
    } else {
      const int64_t bx = round_to_dot(x(before->x)), by = round_to_dot(y(before->y));
      if (plot.steps) {
        canvas.line(bx, by, px, by);
        canvas.line(px, by, px, py);
      } else {
        canvas.line(bx, by, px, py);
      }
    }
    before = &point;
  }
  for (const Point& point : plot.marks) {
    if (drawn(point)) canvas.mark(round_to_dot(x(point.x)), round_to_dot(y(point.y)));
  }
}

// With a true minus sign, as number_text() has it.
std::string short_text(double value) {
  return (value < 0 ? "\u2212" : "") + fmt::format("{:.4g}", std::abs(value));
}

// "└┬───────┬─" and the numbers under it.
std::string x_axis(const Axis& x, int64_t labels, int64_t columns) {
  const int count = static_cast<int>(std::clamp<int64_t>(columns / 14, 2, 8));
  std::vector<std::string> line(static_cast<size_t>(columns), "─");
  std::string numbers;
  for (const double tick : x.ticks(count)) {
    const int64_t column = std::clamp<int64_t>(round_to_dot(x(tick)) / kDotsAcross, 0, columns - 1);
    const std::string text = tick_text(tick, x.tick_step(count));
    const int64_t width = columns_of(text);
    const int64_t begin = std::clamp<int64_t>(column - width / 2, 0, columns - width);
    if (!numbers.empty() && begin < columns_of(numbers) + 1) continue;
    line[static_cast<size_t>(column)] = "┬";
    numbers = pad_right(numbers, begin) + text;
  }
  std::string text = pad_left("", labels) + " └";
  for (const std::string& piece : line) text += piece;
  return text + '\n' + pad_left("", labels + 2) + numbers + '\n';
}

}  // namespace

std::string figure_text(double value, int decimals) {
  return std::abs(value) < kMost || !std::isfinite(value) ? number_text(value, decimals)
                                                          : short_text(value);
}

std::string text_plot(const TextPlot& plot) {
  Range range = y_range(plot);
  if (!std::isfinite(range.high - range.low) || plot.height < 1) return "";
  if (range.high - range.low <= kEqual * std::abs(range.high)) {
    return "  constant at " + short_text(range.high) + '\n';
  }
  range = with_room(range);
  const auto bottom = static_cast<double>(plot.height * kDotsDown - 1);
  const Axis y(range.low, range.high, bottom, 0);
  const int count = static_cast<int>(std::max<int64_t>(2, plot.height / 3));
  std::vector<std::string> labels(static_cast<size_t>(plot.height));
  int64_t label_width = 0;
  for (const double tick : y.ticks(count)) {
    const int64_t row = round_to_dot(y(tick)) / kDotsDown;
    if (row < 0 || row >= plot.height) continue;
    if (plot.steps && tick != std::floor(tick)) continue;
    std::string& label = labels[static_cast<size_t>(row)];
    if (!label.empty()) continue;
    label = std::abs(tick) < kMost ? tick_text(tick, plot.steps ? 1 : y.tick_step(count))
                                   : short_text(tick);
    label_width = std::max(label_width, columns_of(label));
  }
  const int64_t columns = std::max(kNarrowest, plot.width - label_width - 2);
  const auto right = static_cast<double>(columns * kDotsAcross - 1);
  const Axis x(plot.x_low, std::max(plot.x_high, plot.x_low + 1), 0, right);
  Canvas canvas(columns, plot.height);
  draw_curve(canvas, plot, x, y);
  std::string text;
  for (int64_t row = 0; row < plot.height; ++row) {
    const std::string& label = labels[static_cast<size_t>(row)];
    std::string line =
        pad_left(label, label_width) + (label.empty() ? " │" : " ┤") + canvas.row(row);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text + x_axis(x, label_width, columns);
}

}  // namespace offshoot
