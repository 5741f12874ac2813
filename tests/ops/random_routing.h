// Random probabilities and routings for the tests of what routes.
#pragma once

#include <vector>

#include "engine/random.h"
#include "ops/route.h"

namespace offshoot::testing {

RouteOptions top_k(int64_t k, CombineWeights weights);
RouteOptions top_p(double p, CombineWeights weights);

// Rows of probabilities, of which the kept set is clear: no two of a token are within 0.1 / E^2 of
// each other, and no running sum is that close to p.
void fill_probabilities(const Tensor& probs, Random& random, double p = 1);
Tensor random_probabilities(const Shape& shape, DType dtype, uint64_t seed, double p = 1);

// The weights as a matrix [N, E], 0 where an expert is not kept.
Tensor dense_weights(Tape& tape, const Routing& routing);

}  // namespace offshoot::testing
