#include "ops/gemm.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/parallel.h"
#include "ops/gemm_kernel.h"
#include "ops/gemm_pack.h"

namespace offshoot {
namespace {

using gemm_kernel::kLanes;
using gemm_kernel::kPanel;
using gemm_kernel::kTileRows;
using gemm_kernel::pack_tile;
using gemm_kernel::Panels;
using gemm_kernel::rows_far_apart;
using gemm_kernel::tile;

// Rows of a and depth of the sums worked on at a time. A block of a and a panel of b beside it stay
// in the second cache; less depth would go over c more often, which costs more than it saves.
constexpr int64_t kBlockTiles = 24;
constexpr int64_t kBlockRows = kBlockTiles * kTileRows;
constexpr int64_t kBlockDepth = 768;

// Panels that must read a block of a for a copy of it to pay.
constexpr int64_t kPanelsWorthCopy = 6;

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
  thread_local gemm_kernel::Scratch<T> scratch;
  const bool copy = b.count() >= kPanelsWorthCopy && rows_far_apart(a);
  T* const copies = copy ? scratch.at_least(kBlockRows * kBlockDepth) : nullptr;
  int64_t k = 0;
  do {
    const int64_t depth = std::min(kBlockDepth, K - k);
    std::array<MatrixView<T>, kBlockTiles> tiles;
    const auto rows_of = [&](int64_t i) { return std::min<int64_t>(kTileRows, last - i); };
    for (int64_t i = first; i < last; i += kTileRows) {
      MatrixView<T>& a_tile = tiles[static_cast<size_t>((i - first) / kTileRows)];
      a_tile = {a.data + i * a.row_stride + k * a.column_stride, a.row_stride, a.column_stride};
      if (copy) a_tile = pack_tile(a_tile, rows_of(i), depth, copies + (i - first) * depth);
    }
    for (int64_t panel = 0; panel < b.count(); ++panel) {
      for (int64_t i = first; i < last; i += kTileRows) {
        if (copy && panel + 1 < b.count())
          prefetch_tile(c + i * ldc + (panel + 1) * kPanel<T>, ldc, rows_of(i));
        kTileFunctions<T>[static_cast<size_t>(rows_of(i) - 1)](
            b.width(panel), depth, tiles[static_cast<size_t>((i - first) / kTileRows)],
            b.at(panel, k), b.ld(panel), c + i * ldc + panel * kPanel<T>, ldc, overwrite && k == 0);
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
