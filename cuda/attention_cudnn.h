// Attention by cuDNN, through its C++ frontend; built where tools/cmake/OffshootCudnn.cmake finds
// both.
#pragma once

#include "cuda/attention.h"

namespace offshoot::cuda {

#ifdef OFFSHOOT_HAS_CUDNN
inline constexpr bool kHasCudnn = true;
#else
inline constexpr bool kHasCudnn = false;
#endif

// As in cuda/attention.h. False when cuDNN has nothing for the call; then nothing was launched.
// Throws Error when it fails at what it has accepted.
bool cudnn_attention_forward(const Attention<bfloat16>& attention,
                             const AttentionRows<bfloat16>& out, float* log_sums,
                             const Scratch& scratch, int device, Stream stream);
bool cudnn_attention_backward(const Attention<bfloat16>& attention,
                              const AttentionBackward<bfloat16>& backward, const Scratch& scratch,
                              int device, Stream stream);

}  // namespace offshoot::cuda
