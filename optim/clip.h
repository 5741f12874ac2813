// Clipping by the global norm (Pascanu, Mikolov, Bengio 2012, arXiv 1211.5063).
#pragma once

#include <span>

#include "engine/parameter.h"

namespace offshoot {

// The L2 norm over all gradients together, summed in float64. Empty gradients count as zero.
double gradient_norm(std::span<Parameter* const> parameters);

// Multiplies every gradient by max_norm / norm where norm is larger. Returns the norm before.
// Throws Error when max_norm <= 0 or the norm is not finite (and then changes nothing).
double clip_gradients(std::span<Parameter* const> parameters, double max_norm);

}  // namespace offshoot
