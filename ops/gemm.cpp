#include "ops/gemm.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/parallel.h"
#include "ops/gemm_kernel.h"
#include "ops/gemm_pack.h"
#include "ops/onednn_gemm.h"

namespace offshoot {
namespace {

using gemm_kernel::kLanes;
using gemm_kernel::kPanel;
using gemm_kernel::kTileRows;
using gemm_kernel::Panels;
using gemm_kernel::tile;

// Rows of a worked on at a time: together with a panel of b they stay in the second cache.
constexpr int64_t kBlockRows = 24 * kTileRows;

// Rows that are worth a call of oneDNN by another thread.
constexpr int64_t kOneDnnRows = 64;

// Terms of one chain of a sum. One chain of 1,024 leaves about twice the rounding error of chains
// of 256 in weight gradients, and shorter ones less. How the sums round decides near-ties of top-p
// routing in float32, so a change here can move a float32 run (tests/tools/trajectory_test.cpp).
constexpr int64_t kChain = 48;

// Multiply-adds worth handing to another thread, about 2 us of work.
constexpr int64_t kGrainProducts = 200'000;

template <class T, int R>
void tile_rows(int64_t width, int64_t K, MatrixView<T> a, const T* b, int64_t ldb, T* c,
               int64_t ldc, bool overwrite) {
  // A literal stride of 1 spares the kernel an address for every row of its tile.
  const auto run = [&](int64_t row, int64_t column) {
    if (width == kPanel<T>) return tile<T, R, 2>(K, a.data, row, column, b, ldb, c, ldc, overwrite);
    if (width == kLanes<T>) return tile<T, R, 1>(K, a.data, row, column, b, ldb, c, ldc, overwrite);
    T whole[R * kPanel<T>];
    for (int64_t i = 0; i < R && !overwrite; ++i) {
      for (int64_t j = 0; j < kPanel<T>; ++j)
        whole[i * kPanel<T> + j] = j < width ? c[i * ldc + j] : 0;
    }
    if (width < kLanes<T>) {
      tile<T, R, 1>(K, a.data, row, column, b, ldb, whole, kPanel<T>, overwrite);
    } else {
      tile<T, R, 2>(K, a.data, row, column, b, ldb, whole, kPanel<T>, overwrite);
    }
    for (int64_t i = 0; i < R; ++i) std::copy_n(whole + i * kPanel<T>, width, c + i * ldc);
  };
  a.column_stride == 1 ? run(a.row_stride, 1) : run(1, a.column_stride);
}

template <class T>
using TileRows = void (*)(int64_t width, int64_t K, MatrixView<T> a, const T* b, int64_t ldb, T* c,
                          int64_t ldc, bool overwrite);

// kTileFunctions[r - 1] works on r rows.
template <class T, int... Before>
constexpr auto tile_functions(std::integer_sequence<int, Before...>) {
  return std::array<TileRows<T>, sizeof...(Before)>{&tile_rows<T, Before + 1>...};
}
template <class T>
constexpr auto kTileFunctions = tile_functions<T>(std::make_integer_sequence<int, kTileRows>());

// Asks for the lines of a tile of c ahead of their use: c of a large product comes from afar.
template <class T>
void prefetch_tile(const T* c, int64_t ldc, int64_t rows) {
  for (int64_t i = 0; i < rows; ++i) {
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + kLanes<T>, 1);
  }
}

// Rows [first, last) of c, at most kBlockRows of them.
template <class T>
void multiply_block(int64_t first, int64_t last, int64_t K, MatrixView<T> a, const Panels<T>& b,
                    T* c, int64_t ldc, bool overwrite) {
  int64_t k = 0;
  do {
    const int64_t depth = std::min(kChain, K - k);
    for (int64_t panel = 0; panel < b.count(); ++panel) {
      for (int64_t i = first; i < last; i += kTileRows) {
        const int64_t rows = std::min<int64_t>(kTileRows, last - i);
        const MatrixView<T> a_tile{a.data + i * a.row_stride + k * a.column_stride, a.row_stride,
                                   a.column_stride};
        kTileFunctions<T>[static_cast<size_t>(rows - 1)](
            b.width(panel), depth, a_tile, b.at(panel, k), b.ld(panel),
            c + i * ldc + panel * kPanel<T>, ldc, overwrite && k == 0);
      }
    }
    k += depth;
  } while (k < K);
}

}  // namespace

template <class T>
void detail::run_gemm_then(int64_t M, int64_t N, int64_t K, MatrixView<T> a, MatrixView<T> b, T* c,
                           int64_t ldc, bool overwrite, RowsDone done) {
  if (M <= 0) return;
  if constexpr (std::is_same_v<T, float>) {
    if (M * N * K >= kOneDnnProducts) {
      parallel_for(M, kOneDnnRows, [&](int64_t first, int64_t last) {
        onednn_gemm(last - first, N, K, a.rows_from(first), b, c + first * ldc, ldc, overwrite);
        done.call(done.object, first, last);
      });
      return;
    }
  }
  const Panels<T> panels(N, K, b);
  const int64_t tiles = (M + kTileRows - 1) / kTileRows;
  const int64_t grain = 1 + kGrainProducts / std::max<int64_t>(1, kTileRows * N * K);
  parallel_for(tiles, grain, [&](int64_t first_tile, int64_t last_tile) {
    const int64_t end = std::min(M, last_tile * kTileRows);
    for (int64_t first = first_tile * kTileRows; first < end; first += kBlockRows) {
      const int64_t last = std::min(end, first + kBlockRows);
      multiply_block(first, last, K, a, panels, c, ldc, overwrite);
      done.call(done.object, first, last);
    }
  });
}

template <class T>
void gemm(int64_t M, int64_t N, int64_t K, MatrixView<T> a, MatrixView<T> b, T* c, int64_t ldc,
          bool overwrite) {
  gemm_then<T>(M, N, K, a, b, c, ldc, overwrite, [](int64_t, int64_t) {});
}

template <class T>
void gemm_reference(int64_t M, int64_t N, int64_t K, MatrixView<T> a, MatrixView<T> b, T* c,
                    int64_t ldc, bool overwrite) {
  for (int64_t i = 0; i < M; ++i) {
    for (int64_t j = 0; j < N; ++j) {
      T sum = overwrite ? T{0} : c[i * ldc + j];
      for (int64_t k = 0; k < K; ++k) {
        sum += a.data[i * a.row_stride + k * a.column_stride] *
               b.data[k * b.row_stride + j * b.column_stride];
      }
      c[i * ldc + j] = sum;
    }
  }
}

#define OFFSHOOT_GEMM(T)                                                                          \
  template void gemm<T>(int64_t, int64_t, int64_t, MatrixView<T>, MatrixView<T>, T*, int64_t,     \
                        bool);                                                                    \
  template void gemm_reference<T>(int64_t, int64_t, int64_t, MatrixView<T>, MatrixView<T>, T*,    \
                                  int64_t, bool);                                                 \
  template void detail::run_gemm_then<T>(int64_t, int64_t, int64_t, MatrixView<T>, MatrixView<T>, \
                                         T*, int64_t, bool, RowsDone);
OFFSHOOT_GEMM(float)
OFFSHOOT_GEMM(double)
#undef OFFSHOOT_GEMM

}  // namespace offshoot
