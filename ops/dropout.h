// Dropout (Srivastava et al. 2014, JMLR 15).
//   out[i] = keep[i] x[i] / (1 - rate), keep[i] = 0 with probability `rate`, else 1
//   dx = keep dout / (1 - rate)
// Mask     keep[i] is a function of (key, stream, i) alone, whatever the dtype, the shape, the
//          device or the thread count: word i of Philox under the key `seed`, in a stream mixed
//          from `stream`, step and micro-batch, is compared with rate 2^32. It is computed again in
//          backward.
// Shapes   x any, f32 or f64, on CUDA f32 or bf16; out like x. Not training, or at rate 0, out is x
//          itself.
// Saved    nothing but the key. Backward adds into dx.
// Throws   Error when x has another dtype, or rate is not in [0, 1).
#pragma once

#include <cstdint>

#include "engine/context.h"
#include "engine/tape.h"

namespace offshoot {

Tensor dropout(Tape& tape, const Tensor& x, double rate, const DropoutKey& key, uint64_t stream,
               bool train);

// The mask's specification: whether element i is kept.
bool dropout_keeps(double rate, const DropoutKey& key, uint64_t stream, int64_t i);

}  // namespace offshoot
