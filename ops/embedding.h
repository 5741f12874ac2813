// Rows of a table, looked up by number.
//   out[n,:] = weight[ids[n],:]      dweight[v,:] = sum over n with ids[n] = v of dout[n,:]
// Shapes   weight [V, D], f32 or f64; ids [...] i32, N in all; out [..., D]. On CUDA weight is f32;
//          ids are there too, or on the CPU.
// Saved    ids; the weight's shape. Backward adds into dweight.
// Repeat   each element of dweight is summed in the order of n: the same bits for any thread count,
//          and on CUDA, where ids are sorted for that.
// Empty    N = 0 is legal: the gradient is zero then.
// Throws   Error when weight is not [V, D] with D >= 1, dtypes are others, or an id is not in
//          [0, V). Ids that are on a CUDA device already are not checked: a wrong one gives a row
//          of NaN and has no gradient.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor embedding(Tape& tape, const Tensor& weight, const Tensor& ids);

}  // namespace offshoot
