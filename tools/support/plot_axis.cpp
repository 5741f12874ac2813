#include "tools/support/plot_axis.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace offshoot {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kZeroRoom = 44;  // user units between 0 and the rest

std::string power_text(double value) {
  // probability_text writes "1.0·10⁻⁵": a round power goes without its factor.
  std::string text = probability_text(value);
  const auto dot = text.find(".0·");
  if (dot != std::string::npos) text.erase(dot, 2);
  if (text.starts_with("1·")) text.erase(0, std::string_view("1·").size());
  return text;
}

}  // namespace

std::string value_text(double value) {
  if (!std::isfinite(value)) return std::string(kMissing);
  const double size = std::abs(value);
  if (size > 0 && size < 0.00095) return power_text(value);
  if (size >= 1000) return count_text(value);
  std::string text = number_text(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 4);
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

void DataRange::take(double value) {
  if (!std::isfinite(value)) return;
  low = empty() ? value : std::min(low, value);
  high = std::isfinite(high) ? std::max(high, value) : value;
}

PlotAxis PlotAxis::logarithmic(double low, double high, bool with_zero, double from, double to) {
  // Room of a tenth of the span, or of a fifth of a decade: no point lies on the frame.
  const double span = std::log10(high) - std::log10(low);
  const double room = std::max(0.06 * span, 0.1);
  const double start = with_zero ? from + kZeroRoom : from;
  PlotAxis axis(Axis(std::log10(low) - room, std::log10(high) + room, start, to));
  axis.log_ = true;
  if (with_zero) axis.from_ = from;
  return axis;
}

double PlotAxis::operator()(double value) const {
  if (!std::isfinite(value)) return kNaN;
  if (!log_) return axis_(value);
  if (value == 0 && from_) return *from_ + kZeroRoom / 4;
  return value > 0 ? axis_(std::log10(value)) : kNaN;
}

double PlotAxis::zero_break() const { return from_ ? *from_ + 0.72 * kZeroRoom : kNaN; }

std::vector<double> PlotAxis::breaks() const {
  std::vector<double> places;
  if (log_) return places;
  for (const double value : axis_.breaks()) places.push_back(axis_(value));
  return places;
}

std::vector<Tick> PlotAxis::ticks(int count) const {
  std::vector<Tick> ticks;
  if (!log_) {
    const double step = axis_.tick_step(count);
    for (const double value : axis_.ticks(count)) ticks.push_back({value, tick_text(value, step)});
    return ticks;
  }
  if (from_) ticks.push_back({0, "0"});
  static constexpr std::array<std::array<double, 3>, 2> kFactors = {{{1, 0, 0}, {1, 2, 5}}};
  const double decades = axis_.high() - axis_.low();
  const auto& factors = kFactors[3 * decades <= count + 1 ? 1 : 0];
  const int every = std::max(1, static_cast<int>(std::ceil(decades / std::max(count, 1))));
  for (int power = static_cast<int>(std::floor(axis_.low())); power <= std::ceil(axis_.high());
       ++power) {
    if (power % every != 0) continue;
    for (const double factor : factors) {
      const double value = factor * std::pow(10.0, power);
      if (factor == 0 || std::log10(value) < axis_.low() || std::log10(value) > axis_.high()) {
        continue;
      }
      ticks.push_back({value, value_text(value)});
    }
  }
  return ticks;
}

}  // namespace offshoot
