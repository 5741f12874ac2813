// Launchers of softmax and its logarithm; the contract: ops/softmax.h. x, out, dout, dx [N, C]
// row-major, C >= 1, T float or bfloat16; sums in float, in an order that C fixes.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

template <class T>
void softmax_forward(const T* x, int64_t N, int64_t C, T* out, Stream stream);
template <class T>
void log_softmax_forward(const T* x, int64_t N, int64_t C, T* out, Stream stream);

// overwrite: the tape's accumulation rule (engine/tape.h).
template <class T>
void softmax_backward(const T* out, const T* dout, int64_t N, int64_t C, T* dx, bool overwrite,
                      Stream stream);
template <class T>
void log_softmax_backward(const T* out, const T* dout, int64_t N, int64_t C, T* dx, bool overwrite,
                          Stream stream);

}  // namespace offshoot::cuda
