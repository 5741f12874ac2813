// Scaled dot-product attention with several heads (Vaswani et al. 2017, arXiv 1706.03762,
// section 3.2).
//   head h owns columns [h Dh, (h + 1) Dh), Dh = D / heads; within it
//   out[i,:] = sum_j p[i,j] v[j,:]      p[i,:] = softmax over visible j of scale q[i,:] . k[j,:]
//   with dp[i,j] = dout[i,:] . v[j,:] and ds = p (dp - dout[i,:] . out[i,:]):
//   dq = scale ds k      dk = scale ds^T q      dv = p^T dout
// Shapes   q [B, Tq, D], k and v [B, Tk, D], out [B, Tq, D]; self_attention: qkv [B, T, 3 D], the
//          columns of q first, then k's, then v's. f32 or f64; on CUDA f32 or bf16, with at most
//          256 columns a head.
// Visible  all keys; causal: keys j <= i only; key_mask: only keys where it is not 0. A query that
//          sees no key gets zeros.
// Memory   blocks of queries against blocks of keys (Dao et al. 2022, arXiv 2205.14135): T x T
//          numbers are never stored, backward computes p again.
// Saved    inputs, out, one number (log of the sum of exponentials) for each query of a head.
//          Backward adds into dq, dk, dv.
// Repeat   the same bits for any thread count, and on one CUDA device.
// On CUDA  bf16 runs on cuDNN where it can, else on own kernels (cuda/attention.h). A key_mask on
//          the CPU is moved there.
// Throws   Error when shapes or dtypes disagree, heads does not divide D, scale is negative or not
//          finite, or Tq != Tk under causal.
#pragma once

#include "engine/tape.h"

namespace offshoot {

struct AttentionOptions {
  int64_t heads = 1;
  bool causal = false;
  Tensor key_mask = {};  // i32 [B, Tk], 0 hides a key; undefined: none is hidden
  double scale = 0;      // 0: 1 / sqrt(Dh)
};

Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v,
                 const AttentionOptions& options);
Tensor self_attention(Tape& tape, const Tensor& qkv, const AttentionOptions& options);

// The specification: plain loops, one thread, no tape.
Tensor attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                           const AttentionOptions& options);

}  // namespace offshoot
