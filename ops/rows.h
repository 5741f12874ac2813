// Rows (of axis 0) picked or summed by index.
//   gather_rows    out[m] = x[index[m]]                  x [N, ...], index i64 [M] -> [M, ...]
//   scatter_rows   out[r] = sum of x[m] with index[m] = r   x [M, ...] -> [rows, ...]
// Each is the other's backward. f32 or f64; on CUDA f32 or bf16, sums in f32, at most 2^31 - 1
// rows.
// Index    on CUDA it may still be on the CPU. On the device already it is not checked: out of
//          range it gives NaN in gather_rows, is left out in scatter_rows, and passes no gradient.
// Saved    index. Backward adds.
// Repeat   bitwise repeatable, whatever the thread count: sums run in the order of m.
// Throws   Error for an index out of range, or shapes, dtypes and devices that do not fit.
#pragma once

#include <cstdint>

#include "engine/tape.h"

namespace offshoot {

Tensor gather_rows(Tape& tape, const Tensor& x, const Tensor& index);
Tensor scatter_rows(Tape& tape, const Tensor& x, const Tensor& index, int64_t rows);

}  // namespace offshoot
