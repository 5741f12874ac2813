#include "cuda/row_norms.h"
#include "cuda/team.cuh"

namespace offshoot::cuda {
namespace {

template <class Team>
__device__ __forceinline__ double norm_of(const Team& team, const float* row, int64_t D) {
  double sum = 0;
  for (int64_t d = team.first(); d < D; d += team.step()) {
    sum += static_cast<double>(row[d]) * row[d];
  }
  return sqrt(team.sum(sum));
}

template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    row_norms_kernel(const float* x, int64_t R, int64_t D, double* norms, float* out) {
  const Team team;
  const int64_t r = team.row();
  if (r >= R) return;
  const double norm = norm_of(team, x + r * D, D);
  if (team.first() > 0) return;
  norms[r] = norm;
  out[r] = static_cast<float>(norm);
}

template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    row_norms_backward_kernel(const float* x, const double* norms, const float* dout, int64_t R,
                              int64_t D, float* dx, bool overwrite) {
  const Team team;
  const int64_t r = team.row();
  if (r >= R) return;
  // NaN stays NaN.
  const double factor = norms[r] == 0 ? 0.0 : dout[r] / norms[r];
  for (int64_t i = r * D + team.first(); i < (r + 1) * D; i += team.step()) {
    accumulate(dx + i, static_cast<float>(factor * x[i]), overwrite);
  }
}

template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    normalize_rows_kernel(const float* x, int64_t R, int64_t D, double* norms, float* out) {
  const Team team;
  const int64_t r = team.row();
  if (r >= R) return;
  const double norm = norm_of(team, x + r * D, D);
  const double divisor = norm < kLeastNorm ? kLeastNorm : norm;
  for (int64_t i = r * D + team.first(); i < (r + 1) * D; i += team.step()) {
    out[i] = static_cast<float>(x[i] / divisor);
  }
  if (team.first() == 0) norms[r] = norm;
}

template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    normalize_rows_backward_kernel(const float* out, const double* norms, const float* dout,
                                   int64_t R, int64_t D, float* dx, bool overwrite) {
  const Team team;
  const int64_t r = team.row();
  if (r >= R) return;
  const bool is_short = norms[r] < kLeastNorm;
  const double divisor = is_short ? kLeastNorm : norms[r];
  const float *const y = out + r * D, *const g = dout + r * D;
  double along = 0;
  for (int64_t d = team.first(); d < D; d += team.step()) along += static_cast<double>(y[d]) * g[d];
  along = is_short ? 0.0 : team.sum(along);
  for (int64_t d = team.first(); d < D; d += team.step()) {
    accumulate(dx + r * D + d, static_cast<float>((g[d] - along * y[d]) / divisor), overwrite);
  }
}

}  // namespace

void row_norms_forward(const float* x, int64_t R, int64_t D, double* norms, float* out,
                       Stream stream) {
  with_team(R, D, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(row_norms_kernel<Team>, grid, block, 0, stream, x, R, D, norms, out);
  });
}

void row_norms_backward(const float* x, const double* norms, const float* dout, int64_t R,
                        int64_t D, float* dx, bool overwrite, Stream stream) {
  with_team(R, D, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(row_norms_backward_kernel<Team>, grid, block, 0, stream, x, norms, dout, R, D, dx,
           overwrite);
  });
}

void normalize_rows_forward(const float* x, int64_t R, int64_t D, double* norms, float* out,
                            Stream stream) {
  with_team(R, D, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(normalize_rows_kernel<Team>, grid, block, 0, stream, x, R, D, norms, out);
  });
}

void normalize_rows_backward(const float* out, const double* norms, const float* dout, int64_t R,
                             int64_t D, float* dx, bool overwrite, Stream stream) {
  with_team(R, D, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(normalize_rows_backward_kernel<Team>, grid, block, 0, stream, out, norms, dout, R, D, dx,
           overwrite);
  });
}

}  // namespace offshoot::cuda
