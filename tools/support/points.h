// Curves as lists of points, made short enough to draw. A point that is not finite is missing.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace offshoot {

struct Point {
  double x = 0;
  double y = 0;
};

inline bool drawn(const Point& point) { return std::isfinite(point.x) && std::isfinite(point.y); }

// At most 2 * buckets points: each bucket's least and greatest value in their order, so that no
// spike is lost. Shorter inputs come back as they are. A bucket without a finite value is a gap.
std::vector<Point> decimate_extremes(const std::vector<Point>& points, int64_t buckets);

// At most `buckets` points: the mean of each bucket's finite points.
std::vector<Point> decimate_means(const std::vector<Point>& points, int64_t buckets);

// Centred moving mean over `window` points; at the start narrower on both sides, so that a steep
// start stays steep, at the end on the right only, so that the last value is a mean too. Gaps are
// left out.
std::vector<Point> smooth(const std::vector<Point>& points, int64_t window);

}  // namespace offshoot
