// Launchers of the routers' auxiliary losses; the contract: ops/balance.h. probs, logits and their
// gradients [N, E] row-major float, N and E at least 1; sums over tokens in double, in an order
// that N and E fix.
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace offshoot::cuda {

// token_offsets [N+1] and expert_of_pair, of which elements below token_offsets[N] are read. Writes
// shares [E], the share of tokens whose first choice an expert is: that of their first pair, or of
// the largest of their probs where they have none. `sums` is scratch of
// load_balance_scratch(N, E) doubles.
int64_t load_balance_scratch(int64_t N, int64_t E);
void load_balance_forward(const float* probs, const int64_t* token_offsets,
                          const int32_t* expert_of_pair, int64_t N, int64_t E, double* sums,
                          float* shares, float* loss, Stream stream);
// overwrite: the tape's accumulation rule (engine/tape.h).
void load_balance_backward(const float* shares, const float* dloss, int64_t N, int64_t E,
                           float* dprobs, bool overwrite, Stream stream);

// Writes log_sums [N], each token's logsumexp.
void router_z_forward(const float* logits, int64_t N, int64_t E, float* log_sums, float* loss,
                      Stream stream);
void router_z_backward(const float* logits, const float* log_sums, const float* dloss, int64_t N,
                       int64_t E, float* dlogits, bool overwrite, Stream stream);

}  // namespace offshoot::cuda
