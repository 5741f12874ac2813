// Auxiliary losses of routers. N tokens, E experts; both return a scalar.
//   load_balance_loss   E * sum_e m_e c_e, m_e the mean probability of expert e, c_e the share of
//                       tokens whose first choice it is (Lepikhin et al. 2020, arXiv 2006.16668;
//                       Fedus, Zoph, Shazeer 2021, arXiv 2101.03961, equation 4): that of their
//                       first pair, or of the largest probability where they have none. The
//                       gradient flows through m.
//   router_z_loss       mean over tokens of logsumexp(logits)^2 (Zoph et al. 2022, arXiv
//                       2202.08906, equation 5)
// Shapes   probs and logits [N, E], N and E at least 1. f32 or f64; on CUDA f32.
// Saved    the shares; logits and their logsumexp. Backward adds.
// Repeat   the same bits for any thread count: sums run in token order. On CUDA they are in double,
//          too, in an order that N and E fix.
// Throws   Error when shapes do not fit or there is no token.
#pragma once

#include "engine/tape.h"
#include "ops/route.h"

namespace offshoot {

Tensor load_balance_loss(Tape& tape, const Tensor& probs, const Routing& routing);
Tensor router_z_loss(Tape& tape, const Tensor& logits);

}  // namespace offshoot
