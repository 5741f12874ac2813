#include "tools/support/points.h"

#include <algorithm>
#include <limits>

namespace offshoot {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

std::vector<Point> decimate_extremes(const std::vector<Point>& points, int64_t buckets) {
  const auto count = static_cast<int64_t>(points.size());
  if (count <= 2 * buckets) return points;
  std::vector<Point> kept;
  for (int64_t b = 0; b < buckets; ++b) {
    const auto first = points.begin() + b * count / buckets;
    const auto last = points.begin() + (b + 1) * count / buckets;
    auto least = last;
    auto greatest = last;
    for (auto p = first; p != last; ++p) {
      if (!drawn(*p)) continue;
      if (least == last || p->y < least->y) least = p;
      if (greatest == last || p->y > greatest->y) greatest = p;
    }
    if (least == last) {
      kept.push_back({first->x, kNaN});
      continue;
    }
    kept.push_back(*std::min(least, greatest));
    if (least != greatest) kept.push_back(*std::max(least, greatest));
  }
  return kept;
}

std::vector<Point> decimate_means(const std::vector<Point>& points, int64_t buckets) {
  const auto count = static_cast<int64_t>(points.size());
  if (count <= buckets) return points;
  std::vector<Point> means;
  for (int64_t b = 0; b < buckets; ++b) {
    Point sum;
    double finite = 0;
    for (int64_t i = b * count / buckets; i < (b + 1) * count / buckets; ++i) {
      const Point& point = points[static_cast<size_t>(i)];
      if (!drawn(point)) continue;
      sum.x += point.x;
      sum.y += point.y;
      ++finite;
    }
    const double x = points[static_cast<size_t>(b * count / buckets)].x;
    means.push_back(finite > 0 ? Point{sum.x / finite, sum.y / finite} : Point{x, kNaN});
  }
  return means;
}

std::vector<Point> smooth(const std::vector<Point>& points, int64_t window) {
  const auto count = static_cast<int64_t>(points.size());
  // Running sums of the finite values: one pass, whatever the window.
  std::vector<double> sum(points.size() + 1, 0);
  std::vector<int64_t> finite(points.size() + 1, 0);
  for (size_t i = 0; i < points.size(); ++i) {
    sum[i + 1] = sum[i] + (drawn(points[i]) ? points[i].y : 0);
    finite[i + 1] = finite[i] + (drawn(points[i]) ? 1 : 0);
  }
  std::vector<Point> out(points);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t half = std::min(window / 2, i);
    const auto first = static_cast<size_t>(i - half);
    const auto last = static_cast<size_t>(std::min(i + half + 1, count));
    const auto weight = static_cast<double>(finite[last] - finite[first]);
    out[static_cast<size_t>(i)].y = weight > 0 ? (sum[last] - sum[first]) / weight : kNaN;
  }
  return out;
}

}  // namespace offshoot
