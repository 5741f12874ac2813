#include "cuda/exponentials.cuh"
#include "cuda/softmax.h"

namespace offshoot::cuda {
namespace {

template <class Team, class T>
__global__ void __launch_bounds__(kTeamThreads)
    softmax_forward_kernel(const T* x, int64_t N, int64_t C, T* out) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const T* const x_n = x + n * C;
  const auto [largest, sum] = row_exponentials(team, x_n, C);
  const float scale = 1.0f / sum;
  for (int64_t c = team.first(); c < C; c += team.step()) {
    store(out + n * C + c, expf(load(x_n + c) - largest) * scale);
  }
}

template <class Team, class T>
__global__ void __launch_bounds__(kTeamThreads)
    softmax_backward_kernel(const T* out, const T* dout, int64_t N, int64_t C, T* dx,
                            bool overwrite) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const T *const y = out + n * C, *const g = dout + n * C;
  float along = 0.0f;
  for (int64_t c = team.first(); c < C; c += team.step()) along += load(y + c) * load(g + c);
  along = team.sum(along);
  for (int64_t c = team.first(); c < C; c += team.step()) {
    accumulate(dx + n * C + c, load(y + c) * (load(g + c) - along), overwrite);
  }
}

template <class Team, class T>
__global__ void __launch_bounds__(kTeamThreads)
    log_softmax_forward_kernel(const T* x, int64_t N, int64_t C, T* out) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const T* const x_n = x + n * C;
  const auto [largest, sum] = row_exponentials(team, x_n, C);
  const float log_sum = logf(sum);
  // Not x - (largest + log_sum): a large element would cost the digits of the logarithm.
  for (int64_t c = team.first(); c < C; c += team.step()) {
    store(out + n * C + c, (load(x_n + c) - largest) - log_sum);
  }
}

template <class Team, class T>
__global__ void __launch_bounds__(kTeamThreads)
    log_softmax_backward_kernel(const T* out, const T* dout, int64_t N, int64_t C, T* dx,
                                bool overwrite) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const T *const y = out + n * C, *const g = dout + n * C;
  float sum = 0.0f;
  for (int64_t c = team.first(); c < C; c += team.step()) sum += load(g + c);
  sum = team.sum(sum);
  for (int64_t c = team.first(); c < C; c += team.step()) {
    accumulate(dx + n * C + c, load(g + c) - expf(load(y + c)) * sum, overwrite);
  }
}

}  // namespace

template <class T>
void softmax_forward(const T* x, int64_t N, int64_t C, T* out, Stream stream) {
  with_team(N, C, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(softmax_forward_kernel<Team, T>, grid, block, 0, stream, x, N, C, out);
  });
}

template <class T>
void softmax_backward(const T* out, const T* dout, int64_t N, int64_t C, T* dx, bool overwrite,
                      Stream stream) {
  with_team(N, C, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(softmax_backward_kernel<Team, T>, grid, block, 0, stream, out, dout, N, C, dx,
           overwrite);
  });
}

template <class T>
void log_softmax_forward(const T* x, int64_t N, int64_t C, T* out, Stream stream) {
  with_team(N, C, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(log_softmax_forward_kernel<Team, T>, grid, block, 0, stream, x, N, C, out);
  });
}

template <class T>
void log_softmax_backward(const T* out, const T* dout, int64_t N, int64_t C, T* dx, bool overwrite,
                          Stream stream) {
  with_team(N, C, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(log_softmax_backward_kernel<Team, T>, grid, block, 0, stream, out, dout, N, C, dx,
           overwrite);
  });
}

#define OFFSHOOT_SOFTMAX(T)                                                               \
  template void softmax_forward(const T*, int64_t, int64_t, T*, Stream);                  \
  template void softmax_backward(const T*, const T*, int64_t, int64_t, T*, bool, Stream); \
  template void log_softmax_forward(const T*, int64_t, int64_t, T*, Stream);              \
  template void log_softmax_backward(const T*, const T*, int64_t, int64_t, T*, bool, Stream);
OFFSHOOT_SOFTMAX(float)
OFFSHOOT_SOFTMAX(bfloat16)
#undef OFFSHOOT_SOFTMAX

}  // namespace offshoot::cuda
