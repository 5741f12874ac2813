// Launcher of dropout, forward and backward; the contract: ops/dropout.h. T is float or bfloat16.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

// What makes a mask: element i is kept where word i of Philox is at least the threshold.
struct DropoutMask {
  uint64_t seed;
  uint64_t stream;
  uint32_t threshold;
};

// out[i] (+)= keep[i] x[i] scale. overwrite: the tape's accumulation rule (engine/tape.h).
template <class T>
void dropout(const DropoutMask& mask, const T* x, float scale, int64_t size, T* out, bool overwrite,
             Stream stream);

}  // namespace offshoot::cuda
