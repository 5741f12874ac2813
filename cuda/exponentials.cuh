// Exponentials of a row relative to its largest element: what softmax and its relatives begin with.
#pragma once

#include "cuda/team.cuh"

namespace offshoot::cuda {

struct RowExponentials {
  float largest;  // max_c x[c]
  float sum;      // sum_c exp(x[c] - largest); NaN where all of the row is -infinity
};

// In every thread of the row's team.
template <class Team, class T>
__device__ __forceinline__ RowExponentials row_exponentials(Team team, const T* x, int64_t C) {
  float largest = -INFINITY;
  for (int64_t c = team.first(); c < C; c += team.step()) largest = fmaxf(largest, load(x + c));
  largest = team.max(largest);
  float sum = 0.0f;
  for (int64_t c = team.first(); c < C; c += team.step()) sum += expf(load(x + c) - largest);
  return {largest, team.sum(sum)};
}

}  // namespace offshoot::cuda
