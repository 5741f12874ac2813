// Launchers of activation functions; the contract: ops/activation.h. T is float or bfloat16.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

enum class Activation { relu, gelu, gelu_tanh, silu, tanh, sigmoid };

template <class T>
void map_forward(Activation function, const T* x, int64_t count, T* out, Stream stream);

// `saved` is out for relu, tanh and sigmoid, x for the others.
template <class T>
void map_backward(Activation function, const T* saved, const T* dout, int64_t count, T* dx,
                  bool overwrite, Stream stream);

}  // namespace offshoot::cuda
