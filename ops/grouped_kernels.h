// Matrix products of many experts in one call, on raw pointers. Row p of `a` belongs to the expert
// e with offsets[e] <= p < offsets[e + 1]; `offsets` are exclusive, E + 1 of them from 0 to the
// number of rows. T is float or double.
//
// Sums, aliasing and empty sizes are those of ops/gemm.h: the bits depend neither on threads nor on
// how rows are spread over experts. An expert may have no rows.
// Threads    parallel over (expert, block of rows), or inside each product where those are large.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "ops/gemm.h"

namespace offshoot {

// One matrix per expert, `expert_stride` elements apart.
template <class T>
struct ExpertMatrices {
  MatrixView<T> first;
  int64_t expert_stride;

  MatrixView<T> operator[](int64_t expert) const {
    return {first.data + expert * expert_stride, first.row_stride, first.column_stride};
  }
};

// c[p, :] (+)= a[p, :] b[e], with a [P, K], b[e] [K, N], c [P, N]; forward with b the transposed
// weights, and dx with b the weights.
template <class T>
void grouped_gemm(std::span<const int64_t> offsets, int64_t N, int64_t K, MatrixView<T> a,
                  ExpertMatrices<T> b, T* c, int64_t ldc, bool overwrite = true);

// c[e] (+)= a[rows of e]^T b[rows of e], with a [P, M], b [P, N] stored row-major, c[e] [M, N] with
// rows of N elements, `expert_stride` elements apart; dweight. An expert without rows gets zeros
// when overwriting.
template <class T>
void grouped_gemm_weights(std::span<const int64_t> offsets, int64_t M, int64_t N, const T* a,
                          int64_t lda, const T* b, int64_t ldb, T* c, int64_t expert_stride,
                          bool overwrite = true);

namespace detail {

struct ExpertRowsDone {
  void* object;
  void (*call)(void* object, int64_t expert, int64_t first, int64_t last);
};
template <class T>
void run_grouped_gemm_then(std::span<const int64_t> offsets, int64_t N, int64_t K, MatrixView<T> a,
                           ExpertMatrices<T> b, T* c, int64_t ldc, bool overwrite,
                           ExpertRowsDone done);

}  // namespace detail

// grouped_gemm, with finish(expert, first, last) called on each block of rows of c when it is
// complete, as in gemm_then: rows [first, last) all belong to that expert.
template <class T, class F>
void grouped_gemm_then(std::span<const int64_t> offsets, int64_t N, int64_t K, MatrixView<T> a,
                       ExpertMatrices<T> b, T* c, int64_t ldc, bool overwrite, F&& finish) {
  using Function = std::remove_reference_t<F>;
  detail::run_grouped_gemm_then<T>(
      offsets, N, K, a, b, c, ldc, overwrite,
      {const_cast<void*>(static_cast<const void*>(std::addressof(finish))),
       [](void* object, int64_t expert, int64_t first, int64_t last) {
         (*static_cast<Function*>(object))(expert, first, last);
       }});
}

}  // namespace offshoot
