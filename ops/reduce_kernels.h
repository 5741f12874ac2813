// Loops over one row that the compiler vectorises: sums in a fixed order of kPartial interleaved
// partial sums, the same for every length, alignment and thread count.
//
// Rows whose length is a multiple of 32 floats or 16 doubles are fastest: what is left over is
// added one by one. Every function takes a length n >= 0; row_max of nothing is -infinity, the sums
// are 0.
#pragma once

#include <cstdint>
#include <limits>

namespace offshoot {

namespace detail {

// Enough chains to cover the latency of an addition in two vectors of the widest kind.
template <class T>
inline constexpr int kPartial = 128 / static_cast<int>(sizeof(T));

// Halves until one is left: the order does not depend on the processor.
template <class T, class Combine>
[[gnu::always_inline]] inline T fold(T (&partial)[kPartial<T>], Combine combine) {
#pragma GCC unroll 8
  for (int half = kPartial<T> / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) partial[j] = combine(partial[j], partial[j + half]);
  }
  return partial[0];
}

// Folds value(i) for i in [0, n) with `combine`, starting from `neutral`.
template <class T, class Value, class Combine>
[[gnu::always_inline]] inline T reduce(int64_t n, T neutral, Value value, Combine combine) {
  T partial[kPartial<T>];
  for (int j = 0; j < kPartial<T>; ++j) partial[j] = neutral;
  int64_t i = 0;
  for (; i + kPartial<T> <= n; i += kPartial<T>) {
    for (int j = 0; j < kPartial<T>; ++j) partial[j] = combine(partial[j], value(i + j));
  }
  for (int j = 0; i + j < n; ++j) partial[j] = combine(partial[j], value(i + j));
  return fold(partial, combine);
}

}  // namespace detail

// sum_i value(i), value(i) of type T.
template <class T, class Value>
[[gnu::always_inline]] inline T sum_of(int64_t n, Value value) {
  return detail::reduce<T>(n, T{0}, value, [](T a, T b) { return a + b; });
}

template <class T>
[[gnu::always_inline]] inline T row_sum(const T* x, int64_t n) {
  return sum_of<T>(n, [x](int64_t i) { return x[i]; });
}

template <class T>
[[gnu::always_inline]] inline T dot(const T* x, const T* y, int64_t n) {
  return sum_of<T>(n, [x, y](int64_t i) { return x[i] * y[i]; });
}

// The dot product with products and sum in float64.
template <class T>
[[gnu::always_inline]] inline double double_dot(const T* x, const T* y, int64_t n) {
  return sum_of<double>(n, [x, y](int64_t i) { return double{x[i]} * double{y[i]}; });
}

// The largest element; NaN where one of them is NaN is not promised.
template <class T>
[[gnu::always_inline]] inline T row_max(const T* x, int64_t n) {
  return detail::reduce<T>(
      n, -std::numeric_limits<T>::infinity(), [x](int64_t i) { return x[i]; },
      [](T a, T b) { return a < b ? b : a; });
}

// y += alpha x
template <class T>
[[gnu::always_inline]] inline void axpy(T alpha, const T* x, T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += alpha * x[i];
}

// out[d] (+)= sum over rows first <= r < last of x[r, d], in the order of rows. x is [.., D] with
// `ld` elements from row to row.
template <class T>
inline void column_sums(const T* x, int64_t ld, int64_t first, int64_t last, int64_t D, T* out,
                        bool overwrite) {
  if (overwrite) {
    for (int64_t d = 0; d < D; ++d) out[d] = 0;
  }
  for (int64_t r = first; r < last; ++r) axpy(T{1}, x + r * ld, out, D);
}

}  // namespace offshoot
