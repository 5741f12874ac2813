// Launcher of Adam and AdamW over any number of float arrays at once; the contract: optim/adam.h.
#pragma once

#include <cstdint>

#include "cuda/guard.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

// Some elements that share a step count, with what that and the rate come to. One block's work.
struct AdamChunk {
  float* value;
  const float* grad;
  float* exp_avg;
  float* exp_avg_sq;
  int64_t count;
  float step_size;  // rate / (1 - beta1^t)
  float scale;      // 1 / sqrt(1 - beta2^t)
  float keep;       // decoupled: 1 - rate * decay
  float l2;         // coupled: decay
};

struct AdamCoefficients {
  float beta1, beta2;
  float rest1, rest2;  // 1 - beta1, 1 - beta2
  float eps;
};

// `chunks` lie on the device. Elements are independent: bitwise repeatable.
void adam(const AdamChunk* chunks, int64_t num_chunks, const AdamCoefficients& coefficients,
          const Guard& guard, Stream stream);

}  // namespace offshoot::cuda
