// Launchers of gradient clipping over any number of float arrays at once; the contract:
// optim/clip.h.
#pragma once

#include <cstdint>

#include "cuda/guard.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

// Some elements of one gradient: one block's work.
struct GradientChunk {
  float* grad;
  int64_t count;
};

// *norm = the L2 norm over all chunks, which lie on the device; NaN where the guard is not finite.
// Sums are double, in an order that the chunks fix: bitwise repeatable. `sums` is scratch of
// num_chunks numbers. Without chunks the norm is 0.
void gradient_norm(const GradientChunk* chunks, int64_t num_chunks, double* sums, double* norm,
                   const Guard& guard, Stream stream);

// grad *= max_norm / *norm, where that norm is finite and above max_norm.
void clip_gradients(const GradientChunk* chunks, int64_t num_chunks, double max_norm,
                    const double* norm, Stream stream);

}  // namespace offshoot::cuda
