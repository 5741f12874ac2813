#include "cuda/cosine_rows.h"
#include "cuda/team.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    cosine_rows_forward_kernel(const float* w, const int64_t* pairs, int64_t M, int64_t D,
                               float* out, double* cosines) {
  const Team team;
  const int64_t m = team.row();
  if (m >= M) return;
  const float *const a = w + pairs[2 * m] * D, *const b = w + pairs[2 * m + 1] * D;
  double aa = 0, bb = 0, ab = 0;
  for (int64_t d = team.first(); d < D; d += team.step()) {
    const double x = a[d], y = b[d];
    aa += x * x;
    bb += y * y;
    ab += x * y;
  }
  const double a_norm = sqrt(team.sum(aa)), b_norm = sqrt(team.sum(bb));
  const double cosine = team.sum(ab) / (a_norm * b_norm);
  if (team.first() > 0) return;
  out[m] = static_cast<float>(cosine);
  cosines[3 * m] = cosine;
  cosines[3 * m + 1] = a_norm;
  cosines[3 * m + 2] = b_norm;
}

// With u = w / |w|:  dcos/dw_i = (u_j - cos u_i) / |w_i|
__device__ __forceinline__ float gradient_term(double g, double cosine, double a, double a_norm,
                                               double b, double b_norm) {
  return static_cast<float>(g * (b / b_norm - cosine * a / a_norm) / a_norm);
}

// One row of blocks for each row of w.
__global__ void __launch_bounds__(kThreads)
    cosine_rows_backward_kernel(const float* w, const int64_t* pairs, const double* cosines,
                                const float* dout, int64_t M, int64_t D, float* dw,
                                bool overwrite) {
  const int64_t row = blockIdx.x, d = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (d >= D) return;
  float* const to = dw + row * D + d;
  float sum = overwrite ? 0.0f : *to;
  for (int64_t m = 0; m < M; ++m) {
    const int64_t i = pairs[2 * m], j = pairs[2 * m + 1];
    if (i != row && j != row) continue;
    const double cosine = cosines[3 * m], i_norm = cosines[3 * m + 1], j_norm = cosines[3 * m + 2];
    if (i_norm == 0 || j_norm == 0) continue;
    const double w_i = w[i * D + d], w_j = w[j * D + d];
    if (i == row) sum += gradient_term(dout[m], cosine, w_i, i_norm, w_j, j_norm);
    if (j == row) sum += gradient_term(dout[m], cosine, w_j, j_norm, w_i, i_norm);
  }
  *to = sum;
}

}  // namespace

void cosine_rows_forward(const float* w, const int64_t* pairs, int64_t M, int64_t D, float* out,
                         double* cosines, Stream stream) {
  with_team(M, D, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(cosine_rows_forward_kernel<Team>, grid, block, 0, stream, w, pairs, M, D, out, cosines);
  });
}

void cosine_rows_backward(const float* w, const int64_t* pairs, const double* cosines,
                          const float* dout, int64_t M, int64_t R, int64_t D, float* dw,
                          bool overwrite, Stream stream) {
  if (R == 0 || D == 0) return;
  const unsigned threads = row_threads(D, kThreads);
  launch(cosine_rows_backward_kernel, dim3(static_cast<unsigned>(R), blocks_for(D, threads)),
         threads, 0, stream, w, pairs, cosines, dout, M, D, dw, overwrite);
}

}  // namespace offshoot::cuda
