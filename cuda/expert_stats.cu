#include <algorithm>

#include "cuda/expert_stats.h"
#include "cuda/team.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

// Elements that one block sums.
constexpr int64_t kBlock = 8192;
int64_t blocks_of(int64_t size) { return (size + kBlock - 1) / kBlock; }

// Arrays of one launch, as its argument.
constexpr size_t kMostArrays = 8;
struct ExpertArrays {
  ExpertArray arrays[kMostArrays];
  int64_t first_block[kMostArrays + 1];  // of those of one expert
};

template <class T>
__device__ __forceinline__ double sum_squares(const T* values, int64_t count) {
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    const double value = load(values + i);
    sum += value * value;
  }
  return block_sum(sum);
}

// blocks[e, block], in rows of `stride`, for block e * count + block of the grid.
__global__ void __launch_bounds__(kThreads)
    expert_squares_kernel(ExpertArrays all, int64_t count_of_expert, int64_t stride,
                          double* blocks) {
  const int64_t block = blockIdx.x % count_of_expert, e = blockIdx.x / count_of_expert;
  int k = 0;
  while (block >= all.first_block[k + 1]) ++k;
  const ExpertArray& array = all.arrays[k];
  const int64_t first = (block - all.first_block[k]) * kBlock;
  const int64_t count = array.size - first < kBlock ? array.size - first : kBlock;
  const int64_t begin = e * array.size + first;
  const double sum =
      array.elements.type == ElementType::f32
          ? sum_squares(static_cast<const float*>(array.elements.data) + begin, count)
          : sum_squares(static_cast<const bfloat16*>(array.elements.data) + begin, count);
  if (threadIdx.x == 0) blocks[e * stride + block] = sum;
}

// blocks[e, k, block], in rows of `count`, for block e * count + block of the grid; k as in
// expert_products().
template <class T>
__global__ void __launch_bounds__(kThreads)
    expert_products_kernel(const T* a, const T* b, int64_t size, int64_t count_of_expert,
                           double* blocks) {
  const int64_t block = blockIdx.x % count_of_expert, e = blockIdx.x / count_of_expert;
  const int64_t first = block * kBlock, begin = e * size + first;
  const int64_t count = size - first < kBlock ? size - first : kBlock;
  double aa = 0, bb = 0, ab = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    const double x = load(a + begin + i), y = load(b + begin + i);
    aa += x * x;
    bb += y * y;
    ab += x * y;
  }
  aa = block_sum(aa);
  bb = block_sum(bb);
  ab = block_sum(ab);
  if (threadIdx.x > 0) return;
  double* const to = blocks + 3 * e * count_of_expert + block;
  to[0] = aa;
  to[count_of_expert] = bb;
  to[2 * count_of_expert] = ab;
}

// sums[row] of x [rows, columns]
template <class Team>
__global__ void __launch_bounds__(kTeamThreads)
    sum_rows_kernel(const double* x, int64_t rows, int64_t columns, double* sums) {
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  double sum = 0;
  for (int64_t c = team.first(); c < columns; c += team.step()) sum += x[row * columns + c];
  sum = team.sum(sum);
  if (team.first() == 0) sums[row] = sum;
}

void sum_rows(const double* x, int64_t rows, int64_t columns, double* sums, Stream stream) {
  with_team(rows, columns, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(sum_rows_kernel<Team>, grid, block, 0, stream, x, rows, columns, sums);
  });
}

// Not more blocks: the division would spill registers.
template <class Team, class T>
__global__ void __launch_bounds__(kTeamThreads, 2)
    project_rows_kernel(const T* g, const T* w, int64_t vectors, int64_t size, T* out) {
  const Team team;
  const int64_t row = team.row();
  if (row >= vectors) return;
  const T *const own_g = g + row * size, *const own_w = w + row * size;
  T* const to = out + row * size;
  double along = 0, squares = 0;
  for (int64_t i = team.first(); i < size; i += team.step()) {
    const double value = load(own_w + i);
    along += load(own_g + i) * value;
    squares += value * value;
  }
  const double share = team.sum(along) / (team.sum(squares) + 1e-12);
  for (int64_t i = team.first(); i < size; i += team.step()) {
    store(to + i, static_cast<float>(share * load(own_w + i)));
  }
}

int64_t blocks_of(std::span<const ExpertArray> arrays) {
  int64_t blocks = 0;
  for (const ExpertArray& array : arrays) blocks += blocks_of(array.size);
  return blocks;
}

}  // namespace

int64_t expert_squares_scratch(std::span<const ExpertArray> arrays, int64_t E) {
  return E * blocks_of(arrays);
}

void expert_squares(std::span<const ExpertArray> arrays, int64_t E, double* blocks, double* squares,
                    Stream stream) {
  if (E == 0) return;
  const int64_t stride = blocks_of(arrays);
  double* to = blocks;
  for (size_t first = 0; first < arrays.size(); first += kMostArrays) {
    const auto some = arrays.subspan(first, std::min(kMostArrays, arrays.size() - first));
    const int64_t count = blocks_of(some);
    if (count == 0) continue;
    ExpertArrays all{};
    std::copy(some.begin(), some.end(), all.arrays);
    for (size_t k = 0; k < kMostArrays; ++k) {
      const int64_t own = k < some.size() ? blocks_of(some[k].size) : 0;
      all.first_block[k + 1] = all.first_block[k] + own;
    }
    launch(expert_squares_kernel, static_cast<unsigned>(count * E), kThreads, 0, stream, all, count,
           stride, to);
    to += count;
  }
  sum_rows(blocks, E, stride, squares, stream);
}

int64_t expert_products_scratch(int64_t E, int64_t size) { return 3 * E * blocks_of(size); }

template <class T>
void expert_products(const T* a, const T* b, int64_t E, int64_t size, double* blocks,
                     double* products, Stream stream) {
  if (E > 0 && size > 0) {
    const int64_t count = blocks_of(size);
    launch(expert_products_kernel<T>, static_cast<unsigned>(count * E), kThreads, 0, stream, a, b,
           size, count, blocks);
  }
  sum_rows(blocks, 3 * E, blocks_of(size), products, stream);
}

template <class T>
void project_rows(const T* g, const T* w, int64_t vectors, int64_t size, T* out, Stream stream) {
  with_team(vectors, size, [&]<class Team>(Team, unsigned grid, unsigned block) {
    launch(project_rows_kernel<Team, T>, grid, block, 0, stream, g, w, vectors, size, out);
  });
}

void load_project_rows() {
  load_kernel(reinterpret_cast<const void*>(project_rows_kernel<WarpTeam, float>));
  load_kernel(reinterpret_cast<const void*>(project_rows_kernel<BlockTeam, float>));
}

#define OFFSHOOT_EXPERT_STATS(T)                                                                 \
  template void expert_products(const T*, const T*, int64_t, int64_t, double*, double*, Stream); \
  template void project_rows(const T*, const T*, int64_t, int64_t, T*, Stream);
OFFSHOOT_EXPERT_STATS(float)
OFFSHOOT_EXPERT_STATS(bfloat16)
#undef OFFSHOOT_EXPERT_STATS

}  // namespace offshoot::cuda
