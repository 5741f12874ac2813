#include "cuda/cross_entropy.h"
#include "cuda/exponentials.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kMeanThreads = 1024;

template <class Team, class T>
__global__ void __launch_bounds__(kTeamThreads)
    cross_entropy_rows_kernel(const T* logits, const int32_t* targets, int64_t ignore_index,
                              int64_t N, int64_t C, float* largest, float* log_sums,
                              float* losses) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const int64_t target = targets[n];
  if (target == ignore_index) {
    if (team.first() == 0) losses[n] = 0.0f;
    return;
  }
  const T* const x = logits + n * C;
  const RowExponentials row = row_exponentials(team, x, C);
  if (team.first() > 0) return;
  const float log_sum = logf(row.sum);
  const bool is_class = target >= 0 && target < C;
  losses[n] = is_class ? log_sum - (load(x + target) - row.largest) : NAN;
  if (largest == nullptr) return;
  largest[n] = row.largest;
  log_sums[n] = log_sum;
}

// One block.
__global__ void __launch_bounds__(kMeanThreads)
    cross_entropy_mean_kernel(const float* losses, const int32_t* targets, int64_t ignore_index,
                              int64_t N, int64_t* counted, float* loss) {
  double sum = 0;
  int64_t count = 0;
  for (int64_t n = threadIdx.x; n < N; n += blockDim.x) {
    sum += losses[n];
    count += targets[n] != ignore_index;
  }
  sum = block_sum(sum);
  count = block_sum(count);
  if (threadIdx.x > 0) return;
  *counted = count;
  *loss = count == 0 ? 0.0f : static_cast<float>(sum / static_cast<double>(count));
}

template <class Team, class T>
__global__ void __launch_bounds__(kTeamThreads)
    cross_entropy_backward_kernel(const T* logits, const int32_t* targets, int64_t ignore_index,
                                  const float* largest, const float* log_sums,
                                  const int64_t* counted, const float* dloss, int64_t N, int64_t C,
                                  T* dlogits, bool overwrite) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const int64_t target = targets[n];
  T* const dx = dlogits + n * C;
  if (target == ignore_index || target < 0 || target >= C) {
    if (!overwrite) return;
    for (int64_t c = team.first(); c < C; c += team.step()) store(dx + c, 0.0f);
    return;
  }
  const float scale = *dloss / static_cast<float>(*counted);
  const float row_largest = largest[n], log_sum = log_sums[n];
  for (int64_t c = team.first(); c < C; c += team.step()) {
    const float share = expf((load(logits + n * C + c) - row_largest) - log_sum);
    accumulate(dx + c, scale * (share - (c == target ? 1.0f : 0.0f)), overwrite);
  }
}

}  // namespace

template <class T>
void cross_entropy_rows(const T* logits, const int32_t* targets, int64_t ignore_index, int64_t N,
                        int64_t C, float* largest, float* log_sums, float* losses, Stream stream) {
  with_team(N, C, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(cross_entropy_rows_kernel<Team, T>, grid, block, 0, stream, logits, targets,
           ignore_index, N, C, largest, log_sums, losses);
  });
}

void cross_entropy_mean(const float* losses, const int32_t* targets, int64_t ignore_index,
                        int64_t N, int64_t* counted, float* loss, Stream stream) {
  launch(cross_entropy_mean_kernel, 1, row_threads(N + 1, kMeanThreads), 0, stream, losses, targets,
         ignore_index, N, counted, loss);
}

template <class T>
void cross_entropy_backward(const T* logits, const int32_t* targets, int64_t ignore_index,
                            const float* largest, const float* log_sums, const int64_t* counted,
                            const float* dloss, int64_t N, int64_t C, T* dlogits, bool overwrite,
                            Stream stream) {
  with_team(N, C, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(cross_entropy_backward_kernel<Team, T>, grid, block, 0, stream, logits, targets,
           ignore_index, largest, log_sums, counted, dloss, N, C, dlogits, overwrite);
  });
}

#define OFFSHOOT_CROSS_ENTROPY(T)                                                               \
  template void cross_entropy_rows(const T*, const int32_t*, int64_t, int64_t, int64_t, float*, \
                                   float*, float*, Stream);                                     \
  template void cross_entropy_backward(const T*, const int32_t*, int64_t, const float*,         \
                                       const float*, const int64_t*, const float*, int64_t,     \
                                       int64_t, T*, bool, Stream);
OFFSHOOT_CROSS_ENTROPY(float)
OFFSHOOT_CROSS_ENTROPY(bfloat16)
#undef OFFSHOOT_CROSS_ENTROPY

}  // namespace offshoot::cuda
