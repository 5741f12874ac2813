// The axes of a plot whose scale the data ask for: linear, stretched where things happen, or
// logarithmic, with a place of its own for 0.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "tools/support/svg_plot.h"

namespace offshoot {

enum class Scale { kLinear, kLog };

struct Tick {
  double value = 0;
  std::string text;
};

// Data to user units.
class PlotAxis {
 public:
  explicit PlotAxis(Axis axis) : axis_(std::move(axis)) {}

  // [low, high] > 0. `with_zero`: 0 stands left of a break, where it is no matter of scale.
  static PlotAxis logarithmic(double low, double high, bool with_zero, double from, double to);

  // NaN for what has no place: not finite, or not above 0 on a logarithmic axis (but its 0).
  double operator()(double value) const;
  double from() const { return from_.value_or(axis_.from()); }
  double to() const { return axis_.to(); }
  // About `count`; a logarithmic axis has powers of ten, and 2 and 5 times these where they fit.
  std::vector<Tick> ticks(int count) const;
  // Where a logarithmic axis is broken for its 0, in user units; NaN where it is not.
  double zero_break() const;
  // Inner boundaries of a stretched axis, in user units.
  std::vector<double> breaks() const;

 private:
  Axis axis_;  // of the logarithms, to base ten, on a logarithmic axis
  bool log_ = false;
  std::optional<double> from_;  // the place of 0
};

// Least and greatest of what is finite.
struct DataRange {
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();

  void take(double value);
  bool empty() const { return !(low <= high); }
};

// "1,000", "0.01", "10⁻⁵": a value as it stands on an axis, with up to three digits.
std::string value_text(double value);

}  // namespace offshoot
