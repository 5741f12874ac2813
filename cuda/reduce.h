// Launchers of reductions; the contract: ops/reduce.h. T is float or bfloat16. The first array of a
// walk is the output, repeated along the axes that are reduced and dense along the others; the
// second is x.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"
#include "cuda/walk.h"

namespace offshoot::cuda {

// Scratch memory of a reduction over the walk: so many floats, or Winners.
int64_t reduction_scratch(const Walk& walk);

// out = factor * the sum of x, in an order that the walk fixes on every device.
template <class T>
void sum_forward(const Walk& walk, const T* x, float factor, float* scratch, T* out, Stream stream);

// dx (+)= factor * dout. The walk: dx, dout.
template <class T>
void sum_backward(const Walk& walk, const T* dout, float factor, T* dx, bool overwrite,
                  Stream stream);

struct Winner {
  int64_t index;  // along the reduced axes; -1: of nothing
  float value;
};

// The first largest element's index, and its value where `out` is not null.
template <class T>
void max_forward(const Walk& walk, const T* x, Winner* scratch, T* out, int64_t* winners,
                 Stream stream);

// dx[o, winners[o, i], i] += dout[o, i] for x [outer, count, inner].
template <class T>
void max_backward(const int64_t* winners, const T* dout, int64_t outer, int64_t count,
                  int64_t inner, T* dx, Stream stream);

}  // namespace offshoot::cuda
