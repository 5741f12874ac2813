// Exponentials of rows relative to each row's largest element, so that they neither overflow nor
// vanish: what softmax and its relatives begin with.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <string_view>

#include "engine/error.h"
#include "ops/reduce_kernels.h"
#include "ops/vector_math.h"

namespace offshoot {

// exp(x) for x <= 0, or little above: vexp without what only large results need. Relative error in
// float 1.2e-7; what would be smaller than the smallest normal number is 0. NaN stays NaN.
[[gnu::always_inline]] inline float vexp_nonpositive(float x) {
  // At the clamp the exponent's field below becomes 0, and so the result.
  const auto [mantissa, exponent] = exp_parts(x < -88.0f ? -88.0f : x);
  return mantissa * std::bit_cast<float>((exponent + 127u) << 23);
}
[[gnu::always_inline]] inline double vexp_nonpositive(double x) { return vexp(x); }

// Rows worked on together: short rows then still fill vectors.
inline constexpr int64_t kExponentialRows = 16;

// Up to this width a block is reduced across its rows, one column after the other.
inline constexpr int64_t kNarrowRow = 32;

// out[r] = the combination of row r of x [rows, columns], rows <= kExponentialRows, in an order
// that depends on `columns` only.
template <class T, class Combine, class Row>
[[gnu::always_inline]] inline void reduce_rows(const T* x, int64_t rows, int64_t columns, T* out,
                                               Combine combine, Row reduce_row) {
  if (columns > kNarrowRow) {
    for (int64_t r = 0; r < rows; ++r) out[r] = reduce_row(x + r * columns, columns);
    return;
  }
  const auto across = [=](int64_t count) {
    for (int64_t r = 0; r < count; ++r) out[r] = x[r * columns];
    for (int64_t c = 1; c < columns; ++c) {
      for (int64_t r = 0; r < count; ++r) out[r] = combine(out[r], x[r * columns + c]);
    }
  };
  rows == kExponentialRows ? across(kExponentialRows) : across(rows);
}

// For up to kExponentialRows rows of x [rows, columns], columns >= 1:
//   largest[r] = max_c x[r,c]    out[r,c] = exp(x[r,c] - largest[r])    sums[r] = sum_c out[r,c]
// Throws Error naming `op` when a row is nothing but -infinity.
template <class T>
inline void exponentials(std::string_view op, const T* x, int64_t rows, int64_t columns, T* out,
                         T* largest, T* sums) {
  reduce_rows(
      x, rows, columns, largest, [](T a, T b) { return a < b ? b : a; }, row_max<T>);
  for (int64_t r = 0; r < rows; ++r) {
    if (largest[r] == -std::numeric_limits<T>::infinity()) {
      fail(op, "row: got nothing but -infinity, expected one larger element at least");
    }
    for (int64_t c = 0; c < columns; ++c) out[r * columns + c] = x[r * columns + c] - largest[r];
  }
  // One loop over the block: the ends of short rows would run element by element.
  for (int64_t i = 0; i < rows * columns; ++i) out[i] = vexp_nonpositive(out[i]);
  reduce_rows(
      out, rows, columns, sums, [](T a, T b) { return a + b; }, row_sum<T>);
}

// Calls f(n, rows) on blocks of kExponentialRows rows, the last one shorter, that cover [first,
// last).
template <class F>
void each_exponential_block(int64_t first, int64_t last, F&& f) {
  for (int64_t n = first; n < last; n += kExponentialRows) {
    f(n, std::min(kExponentialRows, last - n));
  }
}

}  // namespace offshoot
