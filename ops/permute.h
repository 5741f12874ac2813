// Tokens to expert order and back, between routing and the experts (ops/route.h).
//   dispatch   out[r, :] = x[token_of_row[r], :]
//   combine    out[n, :] = sum over the pairs p of token n of weights[p] * y[row_of_pair[p], :]
// Shapes   x and combine's out [N, D]; y and dispatch's out [R, D], rows in expert order; any D
//          >= 1. A row that pads an expert's is zeros in dispatch's out and in dy.
// Types    that of routing.weights; on CUDA f32 or bf16, added up in float32, with weights in f32.
// Saved    dispatch: the routing. combine: y and the routing. Backward adds into dx; into dy and
//          dweights (of routing.weights).
// Repeat   sums run over a token's pairs in their order: the same bits for any thread count.
// Empty    N = 0 is legal; a token without pairs gets zeros.
// Throws   Error when shapes or dtypes disagree with the routing.
#pragma once

#include "engine/tape.h"
#include "ops/route.h"

namespace offshoot {

Tensor dispatch_tokens(Tape& tape, const Tensor& x, const Routing& routing);

Tensor combine_tokens(Tape& tape, const Tensor& y, const Routing& routing);

}  // namespace offshoot
