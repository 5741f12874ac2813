#include "cuda/orthogonality_loss.h"
#include "cuda/team.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kFinalThreads = 512;  // of 1024 the division would spill registers

// Partners of a row whose part in its gradient is added up in registers.
constexpr int kPartners = 8;

// In every thread of the team.
template <class Team, class T>
__device__ __forceinline__ double product_of(const Team& team, const T* a, const T* b, int64_t D) {
  float sum = 0.0f;
  for (int64_t d = team.first(); d < D; d += team.step()) sum += load(a + d) * load(b + d);
  return team.sum(sum);
}

// One team a row.
template <class Team, class T>
__global__ void __launch_bounds__(kTeamThreads)
    orthogonality_rows_kernel(OrthogonalityPlan plan, const T* y, int64_t D, double* squares,
                              double* couplings) {
  const Team team;
  const int64_t row = team.row();
  if (row >= *plan.num_rows) return;
  const int64_t n = plan.token_of_row[row];
  double square = 0, coupling = 0;
  if (n >= 0) {
    const T* const x = y + row * D;
    square = product_of(team, x, x, D);
    for (int64_t pair = plan.token_offsets[n]; pair < plan.token_offsets[n + 1]; ++pair) {
      const int64_t other = plan.row_of_pair[pair];
      if (other == row) continue;
      const double product = product_of(team, x, y + other * D, D);
      coupling += product * product;
    }
  }
  if (team.first() > 0) return;
  squares[row] = square;
  couplings[row] = coupling;
}

// One block.
__global__ void __launch_bounds__(kFinalThreads)
    orthogonality_loss_kernel(const int64_t* num_rows, const double* squares,
                              const double* couplings, int64_t N, float* loss) {
  double sum = 0;
  for (int64_t row = threadIdx.x; row < *num_rows; row += kFinalThreads) {
    sum += couplings[row] * share_of(squares[row]);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(sum / static_cast<double>(N));
}

// One team a row.
template <class Team, class T>
__global__ void __launch_bounds__(kTeamThreads)
    orthogonality_backward_kernel(OrthogonalityPlan plan, const T* y, int64_t D,
                                  const double* squares, const double* couplings,
                                  const float* dloss, T* dy, bool overwrite) {
  const Team team;
  const int64_t row = team.row();
  if (row >= *plan.num_rows) return;
  const int64_t n = plan.token_of_row[row];
  const T* const x = y + row * D;
  T* const dx = dy + row * D;
  if (n < 0) {
    for (int64_t d = team.first(); overwrite && d < D; d += team.step()) store(dx + d, 0.0f);
    return;
  }
  const double factor = 2.0 * *dloss / static_cast<double>(plan.N);
  const double share = share_of(squares[row]);
  const float own = static_cast<float>(factor * couplings[row] * share_slope(squares[row]));
  const int64_t last = plan.token_offsets[n + 1];
  bool is_first = true;
  for (int64_t pair = plan.token_offsets[n]; pair < last; pair += kPartners) {
    const T* partners[kPartners];
    float parts[kPartners];
#pragma unroll
    for (int i = 0; i < kPartners; ++i) {
      const int64_t other = pair + i < last ? plan.row_of_pair[pair + i] : row;
      partners[i] = y + other * D;
      parts[i] = 0.0f;
      if (other == row) continue;
      const double product = product_of(team, x, partners[i], D);
      parts[i] = static_cast<float>(factor * product * (share + share_of(squares[other])));
    }
    for (int64_t d = team.first(); d < D; d += team.step()) {
      float sum = is_first ? own * load(x + d) : 0.0f;
#pragma unroll
      for (int i = 0; i < kPartners; ++i) sum += parts[i] * load(partners[i] + d);
      accumulate(dx + d, sum, overwrite && is_first);
    }
    is_first = false;
  }
}

}  // namespace

template <class T>
void orthogonality_forward(const OrthogonalityPlan& plan, const T* y, int64_t D, double* squares,
                           double* couplings, float* loss, Stream stream) {
  with_team(plan.capacity, D, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(orthogonality_rows_kernel<Team, T>, grid, block, 0, stream, plan, y, D, squares,
           couplings);
  });
  launch(orthogonality_loss_kernel, 1, kFinalThreads, 0, stream, plan.num_rows, squares, couplings,
         plan.N, loss);
}

template <class T>
void orthogonality_backward(const OrthogonalityPlan& plan, const T* y, int64_t D,
                            const double* squares, const double* couplings, const float* dloss,
                            T* dy, bool overwrite, Stream stream) {
  with_team(plan.capacity, D, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(orthogonality_backward_kernel<Team, T>, grid, block, 0, stream, plan, y, D, squares,
           couplings, dloss, dy, overwrite);
  });
}

#define OFFSHOOT_ORTHOGONALITY(T)                                                                  \
  template void orthogonality_forward(const OrthogonalityPlan&, const T*, int64_t, double*,        \
                                      double*, float*, Stream);                                    \
  template void orthogonality_backward(const OrthogonalityPlan&, const T*, int64_t, const double*, \
                                       const double*, const float*, T*, bool, Stream);
OFFSHOOT_ORTHOGONALITY(float)
OFFSHOOT_ORTHOGONALITY(bfloat16)
#undef OFFSHOOT_ORTHOGONALITY

}  // namespace offshoot::cuda
