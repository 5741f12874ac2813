// Launchers of scaled dot-product attention; the contract: ops/attention.h. T is float or bfloat16,
// scores and sums are float.
//
// Runs     bfloat16 without key_mask on cuDNN, where it was built in and takes the shape (Dh a
//          multiple of 8, memory of 16-byte alignment); backward there when all three gradients are
//          wanted and overwritten. All else on own kernels (cuda/attention_simt.h). Both save the
//          same log_sums. cuDNN plans a shape at its first call, which is not recorded into a
//          graph.
// Repeat   bitwise repeatable on one device: no atomics; of cuDNN the deterministic algorithm is
//          asked for.
#pragma once

#include <cstdint>
#include <functional>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

inline constexpr int64_t kMaxAttentionColumns = 256;  // Dh at most

// Row t of head h in sequence b: the Dh elements from b * batch_stride + t * row_stride + h * Dh
// on.
template <class T>
struct AttentionRows {
  T* data;
  int64_t row_stride, batch_stride;
};

template <class T>
struct Attention {
  AttentionRows<const T> q, k, v;
  int64_t B, Tq, Tk, heads, Dh;
  float scale;
  bool causal;
  const int32_t* key_mask;  // [B, Tk] or null
};

// Where a gradient goes; data null: not wanted. overwrite: the tape's accumulation rule
// (engine/tape.h), in the order dq, dk, dv where they are one memory.
template <class T>
struct AttentionGradient {
  AttentionRows<T> rows;
  bool overwrite;
};

// Gives device memory that lives until the call's work is done, 256-byte aligned; called at most
// once a call.
using Scratch = std::function<void*(int64_t bytes)>;

// log_sums [B, heads, Tq]
template <class T>
void attention_forward(const Attention<T>& attention, const AttentionRows<T>& out, float* log_sums,
                       const Scratch& scratch, int device, Stream stream);

template <class T>
struct AttentionBackward {
  AttentionRows<const T> out, dout;
  const float* log_sums;
  AttentionGradient<T> dq, dk, dv;
};
template <class T>
void attention_backward(const Attention<T>& attention, const AttentionBackward<T>& backward,
                        const Scratch& scratch, int device, Stream stream);

// Calls so far that had something to compute, forward and backward, by what they ran on.
struct AttentionStats {
  int64_t cudnn;
  int64_t own;
};
AttentionStats attention_stats();

}  // namespace offshoot::cuda
