// Launcher of SGD with momentum over any number of float arrays at once; the contract:
// optim/sgd.h.
#pragma once

#include <cstdint>

#include "cuda/guard.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

// Some elements of one parameter: one block's work.
struct SgdChunk {
  float* value;
  const float* grad;
  float* momentum;  // null: none is kept
  int64_t count;
  float rate;
  float decay;
};

// `chunks` lie on the device. Elements are independent: bitwise repeatable.
void sgd(const SgdChunk* chunks, int64_t num_chunks, float momentum, const Guard& guard,
         Stream stream);

}  // namespace offshoot::cuda
