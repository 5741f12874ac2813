// Gradient checks of whole modules in float64, as engine/testing/gradcheck.h does for operations.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/context.h"
#include "engine/module.h"

namespace offshoot::testing {

// Every parameter becomes normal with this deviation, so that no gradient is zero by chance.
void randomise(Module& module, uint64_t seed, double deviation = 0.5);

// `inputs` are those of `forward` that are differentiated, too; x[i] is inputs[i].
using ModuleForward = std::function<Tensor(Context&, const std::vector<Tensor>& x)>;

// The largest error of the analytic gradients of all parameters and inputs against central
// differences: max|a - b| / max|b| a tensor. The result is weighted by random numbers. Tensors of
// up to 256 elements are checked element by element, larger ones along 8 random directions.
// Gradients are taken twice in a row, into empty slots and on top. Dropout is on.
double module_gradient_error(Module& module, const ModuleForward& forward,
                             const std::vector<Tensor>& inputs = {});

// Random token ids, i32.
Tensor random_tokens(const Shape& shape, int64_t vocabulary, uint64_t seed);

}  // namespace offshoot::testing
