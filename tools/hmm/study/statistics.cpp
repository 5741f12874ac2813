#include "tools/hmm/study/statistics.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr double kConfidence = 0.95;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// P(|T| <= t) for whole degrees of freedom (Abramowitz, Stegun 1964, 26.7.3 and 26.7.4).
double student_probability(double t, int64_t degrees) {
  const double theta = std::atan(t / std::sqrt(static_cast<double>(degrees)));
  const double cosine2 = std::cos(theta) * std::cos(theta);
  const bool odd = degrees % 2 == 1;
  double term = odd ? std::cos(theta) : 1.0, sum = 0;
  for (int64_t k = odd ? 1 : 0; k <= degrees - 2; k += 2) {
    sum += term;
    term *= cosine2 * static_cast<double>(k + 1) / static_cast<double>(k + 2);
  }
  if (!odd) return std::sin(theta) * sum;
  return 2 / std::numbers::pi * (theta + std::sin(theta) * sum);
}

}  // namespace

double student_quantile(double confidence, int64_t degrees) {
  if (degrees < 1) fail("statistics", "degrees: got {}, expected at least 1", degrees);
  if (!(confidence > 0 && confidence < 1)) {
    fail("statistics", "confidence: got {}, expected in (0, 1)", confidence);
  }
  double low = 0, high = 1;
  while (student_probability(high, degrees) < confidence) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (student_probability(middle, degrees) < confidence ? low : high) = middle;
  }
  return high;
}

Estimate estimate(std::span<const double> values) {
  Estimate result{0, kNone, kNone, kNone, kNone};
  double sum = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    sum += value;
    ++result.n;
  }
  if (result.n == 0) return result;
  const auto n = static_cast<double>(result.n);
  result.mean = sum / n;
  if (result.n == 1) return result;
  double squares = 0;
  for (const double value : values) {
    if (std::isfinite(value)) squares += (value - result.mean) * (value - result.mean);
  }
  result.standard_error = std::sqrt(squares / (n - 1) / n);
  const double half = student_quantile(kConfidence, result.n - 1) * result.standard_error;
  result.low = result.mean - half;
  result.high = result.mean + half;
  return result;
}

Estimate paired_difference(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) {
    fail("statistics", "pairs: got {} and {} values, expected as many", a.size(), b.size());
  }
  std::vector<double> differences(a.size());
  for (size_t i = 0; i < a.size(); ++i) differences[i] = a[i] - b[i];
  return estimate(differences);
}

}  // namespace offshoot
