// The inner kernel of the matrix products: one tile of c held in registers.
//
// Vectors are those of GCC and Clang, which any processor has; plain loops do not keep the tile in
// registers with g++ 12. Internal to this folder.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace offshoot::gemm_kernel {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kTileRows = 8;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kTileRows = 6;
#else
inline constexpr int kVectorBytes = 16;
inline constexpr int kTileRows = 6;
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;

// Lane numbers for shuffles of Vector<T>.
template <class T>
struct MaskOf {
  using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef Index type __attribute__((vector_size(kVectorBytes)));
};

// Elements in a vector, and in the two vectors that are the width of a panel of b.
template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
template <class T>
inline constexpr int kPanel = 2 * kLanes<T>;

template <class T>
inline Vector<T> load(const T* p) {
  Vector<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
inline void store(T* p, Vector<T> v) {
  std::memcpy(p, &v, sizeof v);
}

// c[R, V vectors] (+)= a[R, K] b[K, V vectors]; element (i, k) of a is a[i * row + k * column]. The
// sum starts from zero and is added to c at its end, which keeps long sums exact.
template <class T, int R, int V>
inline void tile(int64_t K, const T* a, int64_t row, int64_t column, const T* b, int64_t ldb, T* c,
                 int64_t ldc, bool overwrite) {
  Vector<T> sum[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[i][v] = Vector<T>{};
  }
  for (int64_t k = 0; k < K; ++k) {
    Vector<T> b_k[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) b_k[v] = load(b + k * ldb + v * kLanes<T>);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const T a_ik = a[i * row + k * column];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[i][v] += a_ik * b_k[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      T* const out = c + i * ldc + v * kLanes<T>;
      store(out, overwrite ? sum[i][v] : load(out) + sum[i][v]);
    }
  }
}

template <class T, int kStep, int... Lane>
inline void swap_blocks(Vector<T>& low, Vector<T>& high, std::integer_sequence<int, Lane...>) {
  using Mask = typename MaskOf<T>::type;
  constexpr int kCount = kLanes<T>;
  const Mask first{((Lane & kStep) ? Lane - kStep + kCount : Lane)...};
  const Mask second{((Lane & kStep) ? Lane + kCount : Lane + kStep)...};
  const Vector<T> old_low = low;
  low = __builtin_shuffle(old_low, high, first);
  high = __builtin_shuffle(old_low, high, second);
}

// out[j, i] = in[i, j] for a square of kLanes: ever smaller off-diagonal blocks change places.
template <class T, int kStep = kLanes<T> / 2>
inline void transpose_in_registers(Vector<T> (&row)[kLanes<T>]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i) {
    if (i & kStep) continue;
    swap_blocks<T, kStep>(row[i], row[i + kStep], std::make_integer_sequence<int, kLanes<T>>());
  }
  if constexpr (kStep > 1) transpose_in_registers<T, kStep / 2>(row);
}

template <class T>
inline void transpose_square(const T* in, int64_t ld_in, T* out, int64_t ld_out) {
  Vector<T> row[kLanes<T>];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i) row[i] = load(in + i * ld_in);
  transpose_in_registers<T>(row);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i) store(out + i * ld_out, row[i]);
}

}  // namespace offshoot::gemm_kernel
