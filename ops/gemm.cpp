#include "ops/gemm.h"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "engine/parallel.h"
#include "ops/gemm_kernel.h"

namespace offshoot {
namespace {

using gemm_kernel::kLanes;
using gemm_kernel::kPanel;
using gemm_kernel::kTileRows;

// A block of a and the panel of b beside it stay in the first two caches: 96 rows by 256 columns
// of a, 256 rows of a panel of b.
constexpr int64_t kBlockRows = 12 * kTileRows;
constexpr int64_t kBlockDepth = 256;

// Multiply-adds worth handing to another thread, about 2 us of work, and elements worth packing
// in parallel.
constexpr int64_t kGrainProducts = 200'000;
constexpr int64_t kGrainPacking = 32'768;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Grows and never shrinks; contents are lost when it grows.
template <class T>
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { ::operator delete(data_, kAlignment); }

  T* at_least(int64_t count) {
    if (count > capacity_) {
      ::operator delete(std::exchange(data_, nullptr), kAlignment);
      capacity_ = 0;
      data_ = static_cast<T*>(::operator new(static_cast<size_t>(count) * sizeof(T), kAlignment));
      capacity_ = count;
    }
    return data_;
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_ = nullptr;
  int64_t capacity_ = 0;
};

template <class T>
T* scratch(int64_t count) {
  thread_local Scratch<T> buffer;
  return buffer.at_least(count);
}

// The columns of b in panels of kPanel; those that cannot be read in place are copied, the last
// one filled up with zeros.
template <class T>
class Panels {
 public:
  Panels(int64_t N, int64_t K, MatrixView<T> b) : N_(N), K_(K), b_(b) {
    const bool in_place = b.column_stride == 1;
    first_packed_ = in_place ? N / kPanel<T> : 0;
    const int64_t packed_count = count() - first_packed_;
    if (packed_count == 0) return;
    T* const packed = scratch<T>(packed_count * K * kPanel<T>);
    packed_ = packed;
    const int64_t grain = std::max<int64_t>(1, kGrainPacking / (K * kPanel<T> + 1));
    parallel_for(packed_count, grain, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p) pack(first_packed_ + p, packed + p * K * kPanel<T>);
    });
  }

  int64_t count() const { return ceil_div(N_, kPanel<T>); }
  int64_t width(int64_t panel) const {
    return std::min<int64_t>(kPanel<T>, N_ - panel * kPanel<T>);
  }
  int64_t ld(int64_t panel) const { return panel < first_packed_ ? b_.row_stride : kPanel<T>; }
  const T* at(int64_t panel, int64_t k) const {
    if (panel < first_packed_) return b_.data + k * b_.row_stride + panel * kPanel<T>;
    return packed_ + ((panel - first_packed_) * K_ + k) * kPanel<T>;
  }

 private:
  void pack(int64_t panel, T* out) const {
    const T* const b = b_.data + panel * kPanel<T> * b_.column_stride;
    const int64_t columns = width(panel);
    for (int64_t k = 0; k < K_; ++k) {
      for (int64_t j = 0; j < columns; ++j) {
        out[k * kPanel<T> + j] = b[k * b_.row_stride + j * b_.column_stride];
      }
      for (int64_t j = columns; j < kPanel<T>; ++j) out[k * kPanel<T> + j] = 0;
    }
  }

  int64_t N_, K_;
  MatrixView<T> b_;
  int64_t first_packed_ = 0;
  const T* packed_ = nullptr;
};

template <class T, int R>
void tile_rows(int64_t width, int64_t K, MatrixView<T> a, const T* b, int64_t ldb, T* c,
               int64_t ldc, bool overwrite) {
  using gemm_kernel::tile;
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

// Rows [first, last) of c in the columns of panels [first_panel, last_panel).
template <class T>
void multiply(int64_t first, int64_t last, int64_t first_panel, int64_t last_panel, int64_t K,
              MatrixView<T> a, const Panels<T>& b, T* c, int64_t ldc, bool overwrite) {
  int64_t k = 0;
  do {
    const int64_t depth = std::min(kBlockDepth, K - k);
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      for (int64_t i = first; i < last; i += kTileRows) {
        const int64_t rows = std::min<int64_t>(kTileRows, last - i);
        const MatrixView<T> a_tile{a.data + i * a.row_stride + k * a.column_stride, a.row_stride,
                                   a.column_stride};
        kTileFunctions<T>[rows - 1](b.width(panel), depth, a_tile, b.at(panel, k), b.ld(panel),
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
  const Panels<T> panels(N, K, b);
  const int64_t tiles = ceil_div(M, kTileRows);
  const int64_t grain = ceil_div(kGrainProducts, kTileRows * std::max<int64_t>(1, N * K));
  parallel_for(tiles, grain, [&](int64_t first_tile, int64_t last_tile) {
    const int64_t end = std::min(M, last_tile * kTileRows);
    for (int64_t first = first_tile * kTileRows; first < end; first += kBlockRows) {
      const int64_t last = std::min(end, first + kBlockRows);
      multiply(first, last, 0, panels.count(), K, a, panels, c, ldc, overwrite);
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
