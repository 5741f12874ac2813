// Matrix products, one or a batch, with what comes right behind them.
//   c (+)= op(a) op(b), then an epilogue      op(x) = x or, where the description says so, x^T
//
// Shapes   op(a) [M, K], op(b) [K, N], c [M, N], row-major; lda, ldb, ldc are elements from row to
//          row as stored. The matrices of a batch are stride_a, stride_b, stride_c elements apart;
//          a or b may be one for all (stride 0), and a bias is.
// Types    a and b both float or both bfloat16. c is float, or bfloat16 where they are. Vectors
//          are of either type.
// Sums     float32 for both types; float products are full float32 (no TF32). An overwritten c is
//          not read.
// Repeat   bitwise repeatable on one device: algorithms depend on the description only, and those
//          that add in no fixed order are excluded.
// Empty    M, N or batch = 0 does nothing but bias gradients; K = 0 is a sum of nothing: zeros,
//          and the bias on them.
// Runs     on cuBLASLt with the epilogue fused, or with own kernels behind it where the library
//          lacks the fusion; wholly on own kernels (cuda/gemm_simt.h) for shapes it refuses.
//          All products of one device share a workspace: they are ordered by one stream. The first
//          one on a device allocates it, so it is not recorded into a graph.
// Throws   Error for descriptions that contradict this, and for failing calls.
#pragma once

#include <cstdint>

#include "cuda/element_type.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

enum class GemmEpilogue : uint8_t {
  none,
  bias,  // adds bias[n]
  // aux = op(a) op(b) + bias[n], c = gelu(aux) in the tanh form that cuBLASLt has. All bfloat16.
  bias_gelu,
  // c = op(a) op(b) gelu'(aux), of the tanh form. All bfloat16.
  dgelu,
  // The same, and dbias[n] (+)= the sum over m of c[m, n].
  dgelu_bias_gradient,
  // dbias[m] (+)= the sum over k of op(a)[m, k]: a linear map's dbias beside its dweight.
  bias_gradient,
};

struct Gemm {
  int64_t M = 0, N = 0, K = 0;

  ConstElements a, b;
  bool transpose_a = false, transpose_b = false;
  Elements c;
  bool overwrite = true;  // else c is added to; epilogues with GELU overwrite only

  int64_t lda = 0, ldb = 0, ldc = 0;  // 0: rows without gaps

  int64_t batch = 1;  // epilogues none and bias only
  int64_t stride_a = 0, stride_b = 0, stride_c = 0;

  GemmEpilogue epilogue = GemmEpilogue::none;
  ConstElements bias = {};  // [N]
  Elements aux = {};        // [M, N], rows ld_aux elements apart
  int64_t ld_aux = 0;       // 0: rows without gaps
  Elements dbias = {};
  bool overwrite_dbias = true;
};

void gemm(const Gemm& product, int device, Stream stream);

}  // namespace offshoot::cuda
