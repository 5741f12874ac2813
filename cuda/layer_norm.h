// Launchers of layer normalisation; the contract: ops/layer_norm.h. x, out, dout, dx [N, D]
// row-major, T float or bfloat16; weight, bias, dweight, dbias [D] and mean, rstd [N] are float.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

template <class T>
void layer_norm_forward(const T* x, const float* weight, const float* bias, float eps, int64_t N,
                        int64_t D, float* mean, float* rstd, T* out, Stream stream);

// overwrite: the tape's accumulation rule (engine/tape.h).
template <class T>
void layer_norm_backward_x(const T* x, const float* weight, const float* mean, const float* rstd,
                           const T* dout, int64_t N, int64_t D, T* dx, bool overwrite,
                           Stream stream);

// Blocks of rows are summed first, then the blocks, both in order: repeatable, no atomics. dweight
// or dbias may be null. `sums` is scratch of layer_norm_scratch(N, D) floats.
int64_t layer_norm_scratch(int64_t N, int64_t D);
template <class T>
void layer_norm_backward_parameters(const T* x, const float* mean, const float* rstd, const T* dout,
                                    int64_t N, int64_t D, float* sums, float* dweight,
                                    bool overwrite_weight, float* dbias, bool overwrite_bias,
                                    Stream stream);

}  // namespace offshoot::cuda
