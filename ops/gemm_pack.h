// Operands of the matrix products laid out for ops/gemm_kernel.h. Internal to ops/gemm.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "engine/parallel.h"
#include "engine/storage.h"
#include "ops/gemm.h"
#include "ops/gemm_kernel.h"

namespace offshoot::gemm_kernel {

// Rows further apart than this fall on few cache sets and many pages: worth a copy when read often.
inline constexpr int64_t kFarApartBytes = 1024;

// Elements worth packing by another thread.
inline constexpr int64_t kGrainPacking = 32'768;

template <class T>
bool rows_far_apart(MatrixView<T> matrix) {
  return matrix.row_stride * static_cast<int64_t>(sizeof(T)) > kFarApartBytes;
}

// The columns of b [K, N] in panels of kPanel, each row by row. Panels that are not good to read in
// place are copied, the last one filled up with zeros.
template <class T>
class Panels {
 public:
  Panels(int64_t N, int64_t K, MatrixView<T> b) : N_(N), K_(K), b_(b) {
    if (b.column_stride == 1 && !rows_far_apart(b)) {
      first_packed_ = N % kLanes<T> == 0 ? count() : N / kPanel<T>;
    }
    if (first_packed_ == count()) return;
    const int64_t elements = (count() - first_packed_) * panel_size();
    scratch_ = pooled_storage(elements * static_cast<int64_t>(sizeof(T)));
    packed_ = reinterpret_cast<T*>(scratch_->data());
    const int64_t grain = std::max<int64_t>(1, kGrainPacking / std::max<int64_t>(1, panel_size()));
    parallel_for(count() - first_packed_, grain, [&](int64_t first, int64_t last) {
      pack(first_packed_ + first, first_packed_ + last);
    });
  }

  int64_t count() const { return (N_ + kPanel<T> - 1) / kPanel<T>; }
  int64_t width(int64_t panel) const {
    return std::min<int64_t>(kPanel<T>, N_ - panel * kPanel<T>);
  }
  // Row k of a panel, and the distance to the next row.
  const T* at(int64_t panel, int64_t k) const {
    if (panel < first_packed_) return b_.data + k * b_.row_stride + panel * kPanel<T>;
    return packed_row(panel, k);
  }
  int64_t ld(int64_t panel) const { return panel < first_packed_ ? b_.row_stride : kPanel<T>; }

 private:
  int64_t panel_size() const { return K_ * kPanel<T>; }
  T* packed_row(int64_t panel, int64_t k) const {
    return packed_ + (panel - first_packed_) * panel_size() + k * kPanel<T>;
  }

  void pack(int64_t first, int64_t last) const {
    if (b_.column_stride == 1) {
      // Several panels at a time: long runs of each row.
      constexpr int64_t kRun = 8;
      const int64_t last_whole = std::min(last, N_ / kPanel<T>);
      for (; first < last_whole; first = std::min(first + kRun, last_whole)) {
        copy(first, std::min(first + kRun, last_whole));
      }
    }
    for (; first < last; ++first) gather(first);
  }

  void copy(int64_t first, int64_t last) const {
    for (int64_t k = 0; k < K_; ++k) {
      const T* const b_k = b_.data + k * b_.row_stride;
      for (int64_t panel = first; panel < last; ++panel) {
        std::copy_n(b_k + panel * kPanel<T>, kPanel<T>, packed_row(panel, k));
      }
    }
  }

  void gather(int64_t panel) const {
    const int64_t columns = width(panel);
    const T* const b = b_.data + panel * kPanel<T> * b_.column_stride;
    for (int64_t first = 0; first < kPanel<T>; first += kLanes<T>) {
      int64_t k = 0;
      if (b_.row_stride == 1 && first + kLanes<T> <= columns) {
        for (; k + kLanes<T> <= K_; k += kLanes<T>) {
          transpose_square(b + k + first * b_.column_stride, b_.column_stride,
                           packed_row(panel, k) + first, kPanel<T>);
        }
      }
      for (; k < K_; ++k) {
        T* const out = packed_row(panel, k);
        for (int64_t j = first; j < first + kLanes<T>; ++j) {
          out[j] = j < columns ? b[k * b_.row_stride + j * b_.column_stride] : T{0};
        }
      }
    }
  }

  int64_t N_, K_;
  MatrixView<T> b_;
  int64_t first_packed_ = 0;
  std::shared_ptr<Storage> scratch_;
  T* packed_ = nullptr;  // in scratch_
};

}  // namespace offshoot::gemm_kernel
