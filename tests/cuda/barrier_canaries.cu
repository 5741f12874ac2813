// The usual kernels of blocks that work together; planted: one barrier is missing.
#include <algorithm>
#include <vector>

#include "cuda/kernel_utils.cuh"
#include "tests/cuda/canaries.h"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

// 0 ... count - 1 in some order, 97 being prime to count.
std::vector<int> scrambled(int count) {
  std::vector<int> numbers(static_cast<size_t>(count));
  for (int i = 0; i < count; i++) numbers[static_cast<size_t>(i)] = 97 * i % count;
  return numbers;
}

// Missing between the warps' writes of their sums and the reads.
template <bool kPlanted>
__global__ void sum_kernel(const int* in, int* out) {
  __shared__ int of_warp[kWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int sum = warp_reduce(in[threadIdx.x], [](int a, int b) { return a + b; });
  if (lane == 0) of_warp[warp] = sum;
  if (!kPlanted) __syncthreads();
  int total = 0;
  for (int i = 0; i < kWarps; i++) total += of_warp[i];
  out[threadIdx.x] = total;
}

bool sum(bool planted) {
  const std::vector<int> in = scrambled(kThreads);
  std::vector<int> out(kThreads, -1);
  launch(planted ? sum_kernel<true> : sum_kernel<false>, 1, kThreads, 0, nullptr, in.data(),
         out.data());
  return out == std::vector<int>(kThreads, kThreads * (kThreads - 1) / 2);
}

// Missing between two sums: the second overwrites what the first still reads.
template <bool kPlanted>
__global__ void two_sums_kernel(int* out) {
  __shared__ int of_warp[kWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int round = 0; round < 2; round++) {
    if (!kPlanted) __syncthreads();
    if (lane == 0) of_warp[warp] = 100 * round + warp;
    __syncthreads();
    int total = 0;
    for (int i = 0; i < kWarps; i++) total += of_warp[i];
    out[kThreads * round + threadIdx.x] = total;
  }
}

bool two_sums(bool planted) {
  std::vector<int> out(2 * kThreads, -1);
  launch(planted ? two_sums_kernel<true> : two_sums_kernel<false>, 1, kThreads, 0, nullptr,
         out.data());
  std::vector<int> expected(kThreads, 28);
  expected.resize(2 * kThreads, 28 + 100 * kWarps);
  return out == expected;
}

constexpr int kTile = 16;

// Missing between writing a tile by rows and reading it by columns.
template <bool kPlanted>
__global__ void transpose_kernel(const int* in, int* out, int rows, int cols) {
  __shared__ int tile[kTile][kTile + 1];
  const int x = threadIdx.x, y = threadIdx.y, col = blockIdx.x * kTile, row = blockIdx.y * kTile;
  if (row + y < rows && col + x < cols) tile[y][x] = in[(row + y) * cols + col + x];
  if (!kPlanted) __syncthreads();
  if (col + y < cols && row + x < rows) out[(col + y) * rows + row + x] = tile[x][y];
}

bool transpose(bool planted) {
  constexpr int kRows = 37, kCols = 50;
  const std::vector<int> in = scrambled(kRows * kCols);
  std::vector<int> out(in.size(), -1), expected(in.size());
  for (size_t i = 0; i < in.size(); i++) expected[i % kCols * kRows + i / kCols] = in[i];
  launch(planted ? transpose_kernel<true> : transpose_kernel<false>,
         dim3(blocks_for(kCols, kTile), blocks_for(kRows, kTile)), dim3(kTile, kTile), 0, nullptr,
         in.data(), out.data(), kRows, kCols);
  return out == expected;
}

// Missing after the tiles are loaded, or before they are loaded anew.
enum class MatmulDefect { none, after_load, before_load };
template <MatmulDefect kDefect>
__global__ void matmul_kernel(const int* a, const int* b, int* c, int n) {
  OFFSHOOT_DYNAMIC_SHARED(int, tiles);
  int* const tile_a = tiles;
  int* const tile_b = tiles + kTile * kTile;
  const int x = threadIdx.x, y = threadIdx.y;
  const int row = blockIdx.y * kTile + y, col = blockIdx.x * kTile + x;
  int sum = 0;
  for (int first = 0; first < n; first += kTile) {
    tile_a[y * kTile + x] = a[row * n + first + x];
    tile_b[y * kTile + x] = b[(first + y) * n + col];
    if (kDefect != MatmulDefect::after_load) __syncthreads();
    for (int k = 0; k < kTile; k++) sum += tile_a[y * kTile + k] * tile_b[k * kTile + x];
    if (kDefect != MatmulDefect::before_load) __syncthreads();
  }
  c[row * n + col] = sum;
}

template <MatmulDefect kDefect>
bool matmul(bool planted) {
  constexpr int kSize = 3 * kTile;
  const std::vector<int> a = scrambled(kSize * kSize);
  const std::vector<int> b(a.rbegin(), a.rend());
  std::vector<int> c(a.size(), -1), expected(a.size());
  for (size_t i = 0; i < kSize; i++) {
    for (size_t j = 0; j < kSize; j++) {
      for (size_t k = 0; k < kSize; k++) {
        expected[i * kSize + j] += a[i * kSize + k] * b[k * kSize + j];
      }
    }
  }
  launch(planted ? matmul_kernel<kDefect> : matmul_kernel<MatmulDefect::none>,
         dim3(kSize / kTile, kSize / kTile), dim3(kTile, kTile), 2 * kTile * kTile * sizeof(int),
         nullptr, a.data(), b.data(), c.data(), kSize);
  return c == expected;
}

// Missing between zeroing the counts and counting, or between counting and reading the counts.
enum class CountDefect { none, after_zero, before_read };
template <CountDefect kDefect>
__global__ void count_kernel(const int* keys, int count, int num_keys, int* counts) {
  OFFSHOOT_DYNAMIC_SHARED(int, of_block);
  for (int key = threadIdx.x; key < num_keys; key += blockDim.x) of_block[key] = 0;
  if (kDefect != CountDefect::after_zero) __syncthreads();
  for (int i = threadIdx.x; i < count; i += blockDim.x) atomicAdd(&of_block[keys[i]], 1);
  if (kDefect != CountDefect::before_read) __syncthreads();
  for (int key = threadIdx.x; key < num_keys; key += blockDim.x) counts[key] = of_block[key];
}

template <CountDefect kDefect>
bool count(bool planted) {
  constexpr int kCount = 1000, kKeys = 300;
  std::vector<int> keys = scrambled(kCount), counts(kKeys, -1), expected(kKeys);
  for (int& key : keys) key %= kKeys;
  for (const int key : keys) expected[static_cast<size_t>(key)]++;
  launch(planted ? count_kernel<kDefect> : count_kernel<CountDefect::none>, 1, kThreads,
         kKeys * sizeof(int), nullptr, keys.data(), kCount, kKeys, counts.data());
  return counts == expected;
}

// Missing before the warps' sums are read, or before the carry changes for the next round.
enum class ScanDefect { none, before_read, before_carry };
template <ScanDefect kDefect>
__global__ void scan_kernel(int* values, int count) {
  __shared__ int of_warp[kWarps];
  __shared__ int carry;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (threadIdx.x == 0) carry = 0;
  __syncthreads();
  for (int first = 0; first < count; first += kThreads) {
    const int i = first + threadIdx.x;
    const int value = i < count ? values[i] : 0;
    int sum = value;
    for (int distance = 1; distance < 32; distance *= 2) {
      const int other = __shfl_up_sync(kWholeWarp, sum, distance);
      if (lane >= distance) sum += other;
    }
    if (lane == 31) of_warp[warp] = sum;
    if (kDefect != ScanDefect::before_read) __syncthreads();
    int before = carry;
    for (int w = 0; w < warp; w++) before += of_warp[w];
    if (i < count) values[i] = before + sum - value;
    if (kDefect != ScanDefect::before_carry) __syncthreads();
    if (threadIdx.x == kThreads - 1) carry = before + sum;
    __syncthreads();
  }
}

template <ScanDefect kDefect>
bool scan(bool planted) {
  constexpr int kCount = 3 * kThreads - 5;
  std::vector<int> values = scrambled(kCount), expected(kCount);
  for (size_t i = 1; i < kCount; i++) expected[i] = expected[i - 1] + values[i - 1];
  launch(planted ? scan_kernel<kDefect> : scan_kernel<ScanDefect::none>, 1, kThreads, 0, nullptr,
         values.data(), kCount);
  return values == expected;
}

// A stable counting sort of one block. Missing between the counts of the warps and their sums, or
// between the sums and their use.
enum class SortDefect { none, before_sums, after_sums };
template <SortDefect kDefect>
__global__ void sort_kernel(const int* keys, int num_keys, int* position) {
  OFFSHOOT_DYNAMIC_SHARED(int, of_warp);  // [num_keys][kWarps]
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int i = threadIdx.x; i < num_keys * kWarps; i += kThreads) of_warp[i] = 0;
  __syncthreads();
  const int key = keys[threadIdx.x];
  const unsigned same = __match_any_sync(kWholeWarp, key);
  const int rank = __popc(same & ((1u << lane) - 1));
  if (rank == 0) of_warp[key * kWarps + warp] = __popc(same);
  if (kDefect != SortDefect::before_sums) __syncthreads();
  if (threadIdx.x == 0) {
    int sum = 0;
    for (int i = 0; i < num_keys * kWarps; i++) {
      const int in_warp = of_warp[i];
      of_warp[i] = sum;
      sum += in_warp;
    }
  }
  if (kDefect != SortDefect::after_sums) __syncthreads();
  position[threadIdx.x] = of_warp[key * kWarps + warp] + rank;
}

template <SortDefect kDefect>
bool sort(bool planted) {
  constexpr int kKeys = 7;
  std::vector<int> keys = scrambled(kThreads), position(kThreads, -1), expected(kThreads);
  for (int& key : keys) key %= kKeys;
  int next = 0;
  for (int key = 0; key < kKeys; key++) {
    for (size_t i = 0; i < kThreads; i++) {
      if (keys[i] == key) expected[i] = next++;
    }
  }
  launch(planted ? sort_kernel<kDefect> : sort_kernel<SortDefect::none>, 1, kThreads,
         kKeys * kWarps * sizeof(int), nullptr, keys.data(), kKeys, position.data());
  return position == expected;
}

// Before warps of independent threads, a warp's writes were seen by its other lanes at once.
template <bool kPlanted>
__global__ void swap_lanes_kernel(int* out) {
  __shared__ int of_thread[kThreads];
  of_thread[threadIdx.x] = threadIdx.x;
  if (!kPlanted) __syncwarp();
  out[threadIdx.x] = of_thread[threadIdx.x ^ 1];
}

bool swap_lanes(bool planted) {
  std::vector<int> out(kThreads, -1), expected(kThreads);
  for (int i = 0; i < kThreads; i++) expected[static_cast<size_t>(i)] = i ^ 1;
  launch(planted ? swap_lanes_kernel<true> : swap_lanes_kernel<false>, 1, kThreads, 0, nullptr,
         out.data());
  return out == expected;
}

}  // namespace

std::vector<Canary> barrier_canaries() {
  constexpr unsigned kAlways = kAnyOrder | kThreadSanitizer;
  constexpr unsigned kNotForward = kReverse | kRandom | kThreadSanitizer;
  constexpr unsigned kNotReverse = kForward | kRandom | kThreadSanitizer;
  return {
      {"sum_before_read", sum, kAlways, ""},
      {"sum_before_reuse", two_sums, kAlways, ""},
      {"transpose", transpose, kAlways, ""},
      {"matmul_after_load", matmul<MatmulDefect::after_load>, kAlways, ""},
      {"matmul_before_load", matmul<MatmulDefect::before_load>, kAlways, ""},
      {"count_after_zero", count<CountDefect::after_zero>, kAlways, ""},
      {"count_before_read", count<CountDefect::before_read>, kAlways, ""},
      {"scan_before_read", scan<ScanDefect::before_read>, kNotForward, ""},
      {"scan_before_carry", scan<ScanDefect::before_carry>, kNotForward, ""},
      {"sort_before_sums", sort<SortDefect::before_sums>, kNotReverse, ""},
      {"sort_after_sums", sort<SortDefect::after_sums>, kNotForward, ""},
      {"swap_lanes", swap_lanes, kAlways, ""},
  };
}

}  // namespace offshoot::cuda
