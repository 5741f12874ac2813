#include <bit>

#include "cuda/elements.h"
#include "cuda/embedding.h"
#include "cuda/primitives.h"
#include "cuda/team.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    embedding_forward_kernel(const float* weight, const int32_t* ids, int64_t N, int64_t V,
                             int64_t D, float* out) {
  const Team team;
  const int64_t n = team.row();
  if (n >= N) return;
  const int64_t id = ids[n];
  const bool is_row = id >= 0 && id < V;
  for (int64_t d = team.first(); d < D; d += team.step()) {
    out[n * D + d] = is_row ? weight[id * D + d] : NAN;
  }
}

// V stands for ids that are none.
__global__ void __launch_bounds__(kThreads)
    embedding_keys_kernel(const int32_t* ids, int64_t N, int32_t V, int32_t* keys,
                          int32_t* positions) {
  const int64_t n = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (n >= N) return;
  keys[n] = ids[n] >= 0 && ids[n] < V ? ids[n] : V;
  positions[n] = static_cast<int32_t>(n);
}

// The first place in [first, N) with another key than the one at `first`.
__device__ __forceinline__ int64_t run_end(const int32_t* sorted_keys, int64_t first, int64_t N) {
  const int32_t key = sorted_keys[first];
  int64_t same = first, other = N;
  while (other - same > 1) {
    const int64_t middle = same + (other - same) / 2;
    (sorted_keys[middle] == key ? same : other) = middle;
  }
  return other;
}

// One row of blocks for each place in sorted order; those where a run of equal keys begins add it.
__global__ void __launch_bounds__(kThreads)
    embedding_sum_kernel(const float* dout, const int32_t* sorted_keys, const int32_t* positions,
                         int64_t N, int64_t V, int64_t D, float* dweight, bool overwrite) {
  const int64_t first = blockIdx.x, d = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  const int64_t key = sorted_keys[first];
  if (d >= D || key == V || (first > 0 && sorted_keys[first - 1] == key)) return;
  const int64_t end = run_end(sorted_keys, first, N);
  float* const to = dweight + key * D + d;
  float sum = overwrite ? 0.0f : *to;
#pragma unroll 8
  for (int64_t i = first; i < end; ++i) sum += dout[positions[i] * D + d];
  *to = sum;
}

// Where each array of the scratch memory begins.
struct Scratch {
  int32_t *keys, *positions, *sorted_keys, *sorted_positions;
  std::byte* sort;

  static int64_t array_bytes(int64_t N) { return (4 * N + 255) / 256 * 256; }
  Scratch(void* memory, int64_t N) : sort(static_cast<std::byte*>(memory)) {
    for (int32_t** const array : {&keys, &positions, &sorted_keys, &sorted_positions}) {
      *array = reinterpret_cast<int32_t*>(sort);
      sort += array_bytes(N);
    }
  }
};

}  // namespace

void embedding_forward(const float* weight, const int32_t* ids, int64_t N, int64_t V, int64_t D,
                       float* out, Stream stream) {
  with_team(N, D, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(embedding_forward_kernel<Team>, grid, block, 0, stream, weight, ids, N, V, D, out);
  });
}

size_t embedding_scratch_bytes(int64_t N) {
  return static_cast<size_t>(4 * Scratch::array_bytes(N)) + sort_pairs_bytes(N);
}

void embedding_backward(const float* dout, const int32_t* ids, int64_t N, int64_t V, int64_t D,
                        void* scratch, float* dweight, bool overwrite, Stream stream) {
  if (overwrite) fill_zero(dweight, V * D * static_cast<int64_t>(sizeof(float)), stream);
  if (N == 0) return;
  const Scratch at(scratch, N);
  launch(embedding_keys_kernel, blocks_for(N, kThreads), kThreads, 0, stream, ids, N, V, at.keys,
         at.positions);
  sort_pairs(at.keys, at.positions, N, 0, std::bit_width(static_cast<uint64_t>(V)), at.sorted_keys,
             at.sorted_positions, at.sort, stream);
  const unsigned threads = row_threads(D, kThreads);
  launch(embedding_sum_kernel, dim3(static_cast<unsigned>(N), blocks_for(D, threads)), threads, 0,
         stream, dout, at.sorted_keys, at.sorted_positions, N, V, D, dweight, overwrite);
}

}  // namespace offshoot::cuda
