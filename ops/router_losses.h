// More auxiliary losses of routers, beside those of ops/balance.h. N tokens, E experts; all return
// a scalar. CV^2 is the squared coefficient of variation, variance / mean^2, over the experts.
//   importance_loss   CV^2 of Imp_e = sum_n probs[n,e] (Shazeer et al. 2017, arXiv 1701.06538)
//   load_loss         CV^2 of load_e = sum_n Phi((logits[n,e] - threshold_n) / sigma), Phi the
//                     standard normal distribution function (Riquelme et al. 2021, arXiv
//                     2106.05974). threshold_n is the logit of the token's last pair, the smallest
//                     one kept; where it keeps none, its largest logit. The gradient flows through
//                     the threshold, too.
//   variance_loss     -sum_e (1/N) sum_n (scores[n,e] - mean_n scores[n,e])^2 (arXiv 2505.22323)
//   diversity_loss    |U U^T - I| + (1/E) sum_e |w_e|, the first one Frobenius' norm (gradient 0
//                     where it is 0), w_e the rows of embedding and U these normalised (DynMoE,
//                     Guo et al. 2024, arXiv 2405.14297)
// Shapes   probs, logits and scores [N, E]; embedding [E, D]; none of them empty.
// Types    f32 or f64; on CUDA f32.
// Masks    an expert whose logits are -infinity has load 0, and no gradient.
// Repeat   as the operations that they are made of (ops/reduce.h, ops/matmul.h).
// Throws   Error when shapes do not fit or are empty, or sigma is not a positive number; on the CPU
//          when a threshold is not finite.
#pragma once

#include "engine/tape.h"
#include "ops/route.h"

namespace offshoot {

Tensor importance_loss(Tape& tape, const Tensor& probs);
Tensor load_loss(Tape& tape, const Tensor& logits, const Routing& routing, double sigma);
Tensor variance_loss(Tape& tape, const Tensor& scores);
Tensor diversity_loss(Tape& tape, const Tensor& embedding);

}  // namespace offshoot
