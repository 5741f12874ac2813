// Rows and their L2 norms.
//   row_norms        out[r] = |x_r|
//                    dx_r = dout[r] x_r / |x_r|, 0 where the norm is 0
//   normalize_rows   out_r = x_r / max(|x_r|, 1e-12)
//                    dx_r = (dout_r - out_r (out_r . dout_r)) / |x_r|; dout_r / 1e-12 where the
//                    norm is below that
// Shapes   row_norms: x [R, D] -> [R]. normalize_rows: x [..., D], out like x. D >= 1.
// Types    f32 or f64; on CUDA f32. Sums and norms in float64.
// Saved    x and the norms; out instead of x in normalize_rows. Backward adds into dx.
// Repeat   the same bits for any thread count; on CUDA sums run in an order that D fixes.
// Throws   Error for other shapes, dtypes.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor row_norms(Tape& tape, const Tensor& x);
Tensor normalize_rows(Tape& tape, const Tensor& x);

}  // namespace offshoot
