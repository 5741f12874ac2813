#include "cuda/router_losses.h"
#include "cuda/team.cuh"

namespace offshoot::cuda {
namespace {

// In every thread of the team. An index is exact as a float below 2^24.
template <class Team>
__device__ __forceinline__ int32_t first_of_largest(const Team& team, const float* row, int64_t E) {
  float largest = -INFINITY;
  for (int64_t e = team.first(); e < E; e += team.step()) largest = fmaxf(largest, row[e]);
  largest = team.max(largest);
  float first = -static_cast<float>(E - 1);
  for (int64_t e = team.first(); e < E; e += team.step()) {
    if (row[e] == largest) first = fmaxf(first, -static_cast<float>(e));
  }
  return static_cast<int32_t>(-team.max(first));
}

template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    load_chances_kernel(const float* logits, const int64_t* token_offsets,
                        const int32_t* expert_of_pair, int64_t N, int64_t E, float scale,
                        int32_t* experts, float* out) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const float* const row = logits + n * E;
  const int64_t end = token_offsets[n + 1];
  const int32_t expert =
      token_offsets[n] < end ? expert_of_pair[end - 1] : first_of_largest(team, row, E);
  if (team.first() == 0) experts[n] = expert;
  const float threshold = row[expert];
  for (int64_t e = team.first(); e < E; e += team.step()) {
    const float z = scale * (row[e] - threshold);
    out[n * E + e] = 0.5f * erfcf(-0.70710678f * z);
  }
}

// With z_e = (logit_e - threshold) / sigma:  dlogit_e = dout_e phi(z_e) / sigma, of which the
// threshold's logit loses the sum.
template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    load_chances_backward_kernel(const float* logits, const int32_t* experts, const float* dout,
                                 int64_t N, int64_t E, float scale, float* dlogits,
                                 bool overwrite) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const float* const row = logits + n * E;
  const int64_t expert = experts[n];
  const float threshold = row[expert];
  const auto slope = [&](int64_t e) {
    const float z = scale * (row[e] - threshold);
    return dout[n * E + e] * (scale * 0.39894228f * expf(-0.5f * z * z));
  };
  float sum = 0.0f;
  for (int64_t e = team.first(); e < E; e += team.step()) sum += slope(e);
  sum = team.sum(sum);
  for (int64_t e = team.first(); e < E; e += team.step()) {
    accumulate(dlogits + n * E + e, slope(e) - (e == expert ? sum : 0.0f), overwrite);
  }
}

}  // namespace

void load_chances_forward(const float* logits, const int64_t* token_offsets,
                          const int32_t* expert_of_pair, int64_t N, int64_t E, double sigma,
                          int32_t* experts, float* out, Stream stream) {
  with_team(N, E, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(load_chances_kernel<Team>, grid, block, 0, stream, logits, token_offsets, expert_of_pair,
           N, E, static_cast<float>(1 / sigma), experts, out);
  });
}

void load_chances_backward(const float* logits, const int32_t* experts, const float* dout,
                           int64_t N, int64_t E, double sigma, float* dlogits, bool overwrite,
                           Stream stream) {
  with_team(N, E, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(load_chances_backward_kernel<Team>, grid, block, 0, stream, logits, experts, dout, N, E,
           static_cast<float>(1 / sigma), dlogits, overwrite);
  });
}

}  // namespace offshoot::cuda
