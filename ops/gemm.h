// Matrix products on raw pointers: c = a b, or c += a b, with a [M, K], b [K, N], c [M, N] and c
// row-major with `ldc` elements from row to row. T is float or double.
//
// Sums       c[i,j] is summed over k in order, in chains of 48 multiply-adds that are added up: the
//            same bits for any number of threads and any cut into rows. Large float products go to
//            oneDNN by blocks of rows, one a thread: the same bits for a given number of threads.
//            An overwritten c is not read; NaN and infinity propagate as in plain loops.
// Threads    parallel over rows of c when called outside a loop.
// Aliasing   c overlaps neither a nor b.
// Empty      M or N = 0 does nothing; K = 0 is a sum of nothing: zeros when overwriting.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace offshoot {

// A matrix to read: element (i, j) is data[i * row_stride + j * column_stride]; one of the strides
// is 1.
template <class T>
struct MatrixView {
  const T* data;
  int64_t row_stride;
  int64_t column_stride;

  MatrixView rows_from(int64_t first) const {
    return {data + first * row_stride, row_stride, column_stride};
  }
};

// The matrix stored row-major with `ld` elements from row to row.
template <class T>
MatrixView<T> plain(const T* data, int64_t ld) {
  return {data, ld, 1};
}

// The transpose of the matrix stored row-major with `ld` elements from row to row.
template <class T>
MatrixView<T> transposed(const T* data, int64_t ld) {
  return {data, 1, ld};
}

template <class T>
void gemm(int64_t M, int64_t N, int64_t K, MatrixView<T> a, MatrixView<T> b, T* c, int64_t ldc,
          bool overwrite = true);

// The specification: plain loops, one thread.
template <class T>
void gemm_reference(int64_t M, int64_t N, int64_t K, MatrixView<T> a, MatrixView<T> b, T* c,
                    int64_t ldc, bool overwrite = true);

namespace detail {

struct RowsDone {
  void* object;
  void (*call)(void* object, int64_t first, int64_t last);
};
template <class T>
void run_gemm_then(int64_t M, int64_t N, int64_t K, MatrixView<T> a, MatrixView<T> b, T* c,
                   int64_t ldc, bool overwrite, RowsDone done);

}  // namespace detail

// gemm, with finish(first, last) called on each block of rows of c when it is complete, by the
// thread that computed it, while the block is still in that thread's cache: for bias, activation
// and the like. finish covers every row once, works row by row, and calls no gemm.
template <class T, class F>
void gemm_then(int64_t M, int64_t N, int64_t K, MatrixView<T> a, MatrixView<T> b, T* c, int64_t ldc,
               bool overwrite, F&& finish) {
  using Function = std::remove_reference_t<F>;
  detail::run_gemm_then<T>(M, N, K, a, b, c, ldc, overwrite,
                           {const_cast<void*>(static_cast<const void*>(std::addressof(finish))),
                            [](void* object, int64_t first, int64_t last) {
                              (*static_cast<Function*>(object))(first, last);
                            }});
}

}  // namespace offshoot
