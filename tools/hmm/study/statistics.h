// Means of repeated runs and how far they can be trusted.
#pragma once

#include <cstdint>
#include <span>

namespace offshoot {

// A mean with its 95% confidence interval (Student 1908): mean -+ t standard_error, t the quantile
// of Student's distribution with n - 1 degrees of freedom.
struct Estimate {
  int64_t n = 0;              // values that are finite; the others are left out
  double mean = 0;            // NaN without a value
  double standard_error = 0;  // s / sqrt(n), s the unbiased deviation; NaN below two values
  double low = 0;             // NaN below two values
  double high = 0;
};
Estimate estimate(std::span<const double> values);

// Of the differences a[i] - b[i]: runs of equal seed see the same data, so the seed's share of the
// noise goes. Throws Error when the lengths differ.
Estimate paired_difference(std::span<const double> a, std::span<const double> b);

// Whether the interval of a difference leaves 0 out.
inline bool differs_from_zero(const Estimate& e) { return e.low > 0 || e.high < 0; }

// The t that a variable of Student's distribution exceeds in magnitude with probability 1 -
// `confidence`. Throws Error when degrees are below 1 or the confidence is not in (0, 1).
double student_quantile(double confidence, int64_t degrees);

}  // namespace offshoot
