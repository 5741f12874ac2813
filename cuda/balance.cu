#include "cuda/balance.h"
#include "cuda/exponentials.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFinalThreads = 1024;

// Experts that a warp sums side by side, and tokens whose terms one block adds up.
constexpr int kLanes = 32;
constexpr int64_t kBlockTokens = 64;

// What is summed for an expert: its probabilities, and the tokens that chose it first.
struct ExpertSums {
  double mass;
  double choices;
};

__device__ __forceinline__ void add(ExpertSums& to, const ExpertSums& from) {
  to.mass += from.mass;
  to.choices += from.choices;
}

// The sums of the same lane over the warps of a block, in the order of warps, in its first warp.
template <int kBlockThreads>
__device__ __forceinline__ ExpertSums sum_of_lane(const ExpertSums& own) {
  __shared__ ExpertSums of_warp[kBlockThreads / kLanes][kLanes];
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  __syncthreads();  // of_warp may still be read from the call before
  of_warp[warp][lane] = own;
  __syncthreads();
  ExpertSums sum{0, 0};
  if (warp > 0) return sum;
  for (int w = 0; w < kBlockThreads / kLanes; ++w) add(sum, of_warp[w][lane]);
  return sum;
}

// Whether e is the first of the row's largest.
__device__ __forceinline__ bool is_first_of_largest(const float* row, int64_t E, int64_t e) {
  for (int64_t other = 0; other < E; ++other) {
    if (other < e ? row[other] >= row[e] : row[other] > row[e]) return false;
  }
  return true;
}

// sums[block, e] over the block's tokens.
__global__ void __launch_bounds__(kThreads)
    load_balance_sum_kernel(const float* probs, const int64_t* token_offsets,
                            const int32_t* expert_of_pair, int64_t N, int64_t E, ExpertSums* sums) {
  const int64_t e = int64_t{blockIdx.y} * kLanes + threadIdx.x % kLanes;
  const int64_t first = int64_t{blockIdx.x} * kBlockTokens;
  const int64_t last = first + kBlockTokens < N ? first + kBlockTokens : N;
  ExpertSums own{0, 0};
  if (e < E) {
    for (int64_t n = first + threadIdx.x / kLanes; n < last; n += kThreads / kLanes) {
      own.mass += probs[n * E + e];
      const int64_t pair = token_offsets[n];
      // A router may keep nothing.
      const bool is_choice = pair < token_offsets[n + 1] ? expert_of_pair[pair] == e
                                                         : is_first_of_largest(probs + n * E, E, e);
      if (is_choice) own.choices += 1;
    }
  }
  own = sum_of_lane<kThreads>(own);
  if (threadIdx.x < kLanes && e < E) sums[blockIdx.x * E + e] = own;
}

// One block.
__global__ void __launch_bounds__(kFinalThreads)
    load_balance_loss_kernel(const ExpertSums* sums, int64_t blocks, int64_t N, int64_t E,
                             float* shares, float* loss) {
  double total = 0;
  for (int64_t first = 0; first < E; first += kLanes) {
    const int64_t e = first + threadIdx.x % kLanes;
    ExpertSums own{0, 0};
    if (e < E) {
      for (int64_t b = threadIdx.x / kLanes; b < blocks; b += kFinalThreads / kLanes) {
        add(own, sums[b * E + e]);
      }
    }
    own = sum_of_lane<kFinalThreads>(own);
    if (threadIdx.x >= kLanes || e >= E) continue;
    const double share = own.choices / static_cast<double>(N);
    shares[e] = static_cast<float>(share);
    total += own.mass * share;
  }
  if (threadIdx.x >= kLanes) return;
  total = warp_sum(total);
  if (threadIdx.x == 0) {
    *loss = static_cast<float>(total * static_cast<double>(E) / static_cast<double>(N));
  }
}

template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    load_balance_backward_kernel(const float* shares, const float* dloss, int64_t N, int64_t E,
                                 float* dprobs, bool overwrite) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const float factor = *dloss * (static_cast<float>(E) / static_cast<float>(N));
  for (int64_t e = team.first(); e < E; e += team.step()) {
    accumulate(dprobs + n * E + e, factor * shares[e], overwrite);
  }
}

template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    router_z_kernel(const float* logits, int64_t N, int64_t E, float* log_sums) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const RowExponentials row = row_exponentials(team, logits + n * E, E);
  if (team.first() == 0) log_sums[n] = row.largest + logf(row.sum);
}

// One block.
__global__ void __launch_bounds__(kFinalThreads)
    router_z_loss_kernel(const float* log_sums, int64_t N, float* loss) {
  double sum = 0;
  for (int64_t n = threadIdx.x; n < N; n += blockDim.x) {
    sum += static_cast<double>(log_sums[n]) * log_sums[n];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(sum / static_cast<double>(N));
}

// d(z^2)/d(logit) = 2 z softmax(logit)
template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    router_z_backward_kernel(const float* logits, const float* log_sums, const float* dloss,
                             int64_t N, int64_t E, float* dlogits, bool overwrite) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const float z = log_sums[n], factor = 2.0f * *dloss / static_cast<float>(N) * z;
  for (int64_t e = team.first(); e < E; e += team.step()) {
    accumulate(dlogits + n * E + e, factor * expf(logits[n * E + e] - z), overwrite);
  }
}

int64_t token_blocks(int64_t N) { return (N + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

int64_t load_balance_scratch(int64_t N, int64_t E) { return 2 * token_blocks(N) * E; }

void load_balance_forward(const float* probs, const int64_t* token_offsets,
                          const int32_t* expert_of_pair, int64_t N, int64_t E, double* sums,
                          float* shares, float* loss, Stream stream) {
  auto* const expert_sums = reinterpret_cast<ExpertSums*>(sums);
  const int64_t blocks = token_blocks(N);
  launch(load_balance_sum_kernel, dim3(static_cast<unsigned>(blocks), blocks_for(E, kLanes)),
         kThreads, 0, stream, probs, token_offsets, expert_of_pair, N, E, expert_sums);
  launch(load_balance_loss_kernel, 1, kFinalThreads, 0, stream, expert_sums, blocks, N, E, shares,
         loss);
}

void load_balance_backward(const float* shares, const float* dloss, int64_t N, int64_t E,
                           float* dprobs, bool overwrite, Stream stream) {
  with_team(N, E, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(load_balance_backward_kernel<Team>, grid, block, 0, stream, shares, dloss, N, E, dprobs,
           overwrite);
  });
}

void router_z_forward(const float* logits, int64_t N, int64_t E, float* log_sums, float* loss,
                      Stream stream) {
  with_team(N, E, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(router_z_kernel<Team>, grid, block, 0, stream, logits, N, E, log_sums);
  });
  launch(router_z_loss_kernel, 1, row_threads(N, kFinalThreads), 0, stream, log_sums, N, loss);
}

void router_z_backward(const float* logits, const float* log_sums, const float* dloss, int64_t N,
                       int64_t E, float* dlogits, bool overwrite, Stream stream) {
  with_team(N, E, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(router_z_backward_kernel<Team>, grid, block, 0, stream, logits, log_sums, dloss, N, E,
           dlogits, overwrite);
  });
}

}  // namespace offshoot::cuda
