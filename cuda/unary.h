// Launchers of functions of one array, element by element; the contract: ops/unary.h. T is float or
// bfloat16.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

struct Unary {
  enum class Kind { scale, exp, log, sqrt, square, abs, clamp };

  Kind kind;
  float low = 0.0f;   // of clamp; of scale the factor
  float high = 0.0f;  // of clamp
};

template <class T>
void map_forward(Unary function, const T* x, int64_t count, T* out, Stream stream);

// `saved` is out for exp and sqrt, x for the others but for scale, where it is not read.
template <class T>
void map_backward(Unary function, const T* saved, const T* dout, int64_t count, T* dx,
                  bool overwrite, Stream stream);

}  // namespace offshoot::cuda
