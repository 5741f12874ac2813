// Clipping by the global norm (Pascanu, Mikolov, Bengio 2012, arXiv 1211.5063).
#pragma once

#include <span>

#include "engine/parameter.h"

namespace offshoot {

// The L2 norm over all gradients together, a scalar of f64 on their device, summed in float64 in a
// fixed order. Empty gradients count as zero. Throws Error when parameters are on several devices.
Tensor gradient_norm(std::span<Parameter* const> parameters);

// Multiplies every gradient by max_norm / norm where norm is larger. Returns the norm before.
// Throws Error when max_norm <= 0, and on the CPU when the norm is not finite (and then changes
// nothing). On CUDA nobody waits to see it: then nothing changes, and the result shows it.
// `guard`: a number on the gradients' device; where it is not finite, the norm counts as NaN. So
// the result guards an optimizer's step against what the guard says and against its own gradients.
Tensor clip_gradients(std::span<Parameter* const> parameters, double max_norm,
                      const Tensor& guard = {});

}  // namespace offshoot
