#include "tools/inspect/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace offshoot {

double Statistics::norm() const { return std::sqrt(sum_of_squares); }

void Statistics::add(H5Type type, std::span<const std::byte> bytes) {
  with_numbers(type, bytes, [&](auto values) {
    double low = min, high = max, squares = 0;
    for (const auto element : values) {
      const auto value = static_cast<double>(element);
      if (std::isfinite(value)) {
        low = std::min(low, value);
        high = std::max(high, value);
        squares += value * value;
      } else {
        ++(std::isnan(value) ? nans : infinities);
      }
    }
    count += std::ssize(values);
    min = low;
    max = high;
    sum_of_squares += squares;
  });
}

Histogram::Histogram(double min, double max, int parts)
    : min_(min), counts_(static_cast<size_t>(parts), 0) {
  // Halves, as the difference of two doubles can be infinite.
  const double half_span = max / 2 - min / 2;
  scale_ = half_span > 0 ? 0.5 * parts / half_span : 0;
}

void Histogram::add(H5Type type, std::span<const std::byte> bytes) {
  const int64_t last = std::ssize(counts_) - 1;
  with_numbers(type, bytes, [&](auto values) {
    for (const auto element : values) {
      const auto value = static_cast<double>(element);
      if (!std::isfinite(value)) continue;
      // All equal: in the middle. Of denormal numbers the scale is infinite.
      const double part =
          scale_ == 0 ? static_cast<double>((last + 1) / 2) : 2 * ((value / 2 - min_ / 2) * scale_);
      const double kept = std::isnan(part) ? 0 : std::clamp(part, 0.0, static_cast<double>(last));
      ++counts_[static_cast<size_t>(kept)];
    }
  });
}

std::string sparkline(const std::vector<int64_t>& counts) {
  static constexpr std::array<std::string_view, 9> kBlocks = {" ", "▁", "▂", "▃", "▄",
                                                              "▅", "▆", "▇", "█"};
  const int64_t most = counts.empty() ? 0 : *std::ranges::max_element(counts);
  std::string line;
  for (const int64_t count : counts) {
    const double share = most == 0 ? 0 : static_cast<double>(count) / static_cast<double>(most);
    line += kBlocks[static_cast<size_t>(std::ceil(8 * share))];
  }
  return line;
}

}  // namespace offshoot
