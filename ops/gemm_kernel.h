// The inner kernel of the matrix products: one tile of c held in registers.
//
// Vectors are those of GCC and Clang, which any processor has; plain loops do not keep the tile in
// registers with g++ 12. Internal to ops/gemm*.cpp.
#pragma once

#include <cstdint>
#include <cstring>

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

// c[R, V vectors] (+)= a[R, K] b[K, V vectors]; element (i, k) of a is a[i * row + k * column].
template <class T, int R, int V>
inline void tile(int64_t K, const T* a, int64_t row, int64_t column, const T* b, int64_t ldb, T* c,
                 int64_t ldc, bool overwrite) {
  Vector<T> sum[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      sum[i][v] = overwrite ? Vector<T>{} : load(c + i * ldc + v * kLanes<T>);
    }
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
    for (int v = 0; v < V; ++v) store(c + i * ldc + v * kLanes<T>, sum[i][v]);
  }
}

}  // namespace offshoot::gemm_kernel
