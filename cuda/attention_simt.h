// Attention on ordinary arithmetic units, for any shape: tiles of queries against tiles of keys
// with a running softmax (Dao et al. 2022, arXiv 2205.14135), so that Tq x Tk numbers are never
// stored.
#pragma once

#include "cuda/attention.h"

namespace offshoot::cuda {

template <class T>
void simt_attention_forward(const Attention<T>& attention, const AttentionRows<T>& out,
                            float* log_sums, Stream stream);

// One kernel for dq, over tiles of queries, then one for dk and dv, over tiles of keys: each sum is
// one thread's. `deltas` [B, heads, Tq] is scratch.
template <class T>
void simt_attention_backward(const Attention<T>& attention, const AttentionBackward<T>& backward,
                             float* deltas, Stream stream);

}  // namespace offshoot::cuda
