// Launchers of what the losses of ops/router_losses.h need beside other operations; the contract is
// there. logits, out and their gradients [N, E] row-major float.
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace offshoot::cuda {

// out = Phi((logits - threshold) / sigma). experts [N] becomes the one whose logit is the token's
// threshold: that of its last pair, or without pairs the first of the largest logits. token_offsets
// [N+1] and expert_of_pair, of which elements below token_offsets[N] are read.
void load_chances_forward(const float* logits, const int64_t* token_offsets,
                          const int32_t* expert_of_pair, int64_t N, int64_t E, double sigma,
                          int32_t* experts, float* out, Stream stream);

// overwrite: the tape's accumulation rule (engine/tape.h).
void load_chances_backward(const float* logits, const int32_t* experts, const float* dout,
                           int64_t N, int64_t E, double sigma, float* dlogits, bool overwrite,
                           Stream stream);

}  // namespace offshoot::cuda
