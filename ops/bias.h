// A bias along the last axis of row-major numbers: added forward, summed backward.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/parallel.h"
#include "engine/parameter.h"
#include "ops/op.h"

namespace offshoot {

// rows[n, :] += bias for n in [first, last), on the calling thread.
template <class T>
void add_bias(T* rows, int64_t first, int64_t last, int64_t columns, const T* bias) {
  for (int64_t n = first; n < last; ++n) {
    T* row = rows + n * columns;
    for (int64_t j = 0; j < columns; ++j) row[j] += bias[j];
  }
}

// dbias (+)= sum_n rows[n, :]. Each column is summed in one order: the same bits for any number of
// threads. Does nothing where no gradient is wanted.
template <class T>
void add_column_sums(const T* rows, int64_t count, int64_t columns, const GradSlot& dbias) {
  if (!dbias) return;
  T* grad = dbias.grad.data<T>();
  if (dbias.overwrite) std::fill_n(grad, columns, T{0});
  // At least two cache lines of a row; additions are cheap.
  const int64_t grain = std::max<int64_t>(32, 4 * row_grain(count));
  parallel_for(columns, grain, [=](int64_t first, int64_t last) {
    int64_t n = 0;
    for (; n + 4 <= count; n += 4) {
      const T *const a = rows + n * columns, *const b = a + columns, *const c = b + columns,
                     *const d = c + columns;
      for (int64_t j = first; j < last; ++j) grad[j] += (a[j] + b[j]) + (c[j] + d[j]);
    }
    for (; n < count; ++n) {
      for (int64_t j = first; j < last; ++j) grad[j] += rows[n * columns + j];
    }
  });
}

}  // namespace offshoot
