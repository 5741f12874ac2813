#include "cuda/kernel_utils.cuh"
#include "cuda/route.h"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kWordTokens = 32;

__device__ __forceinline__ int warp_in_block() { return static_cast<int>(threadIdx.x / 32); }
__device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x % 32); }
// The warp's number in the grid.
__device__ __forceinline__ int64_t warp_index() {
  return int64_t{blockIdx.x} * kWarps + warp_in_block();
}

// Rises with the score, and among equal ones with a lower slot: bits of floats >= 0 order as the
// floats do, and those of NaN come last.
__device__ __forceinline__ uint64_t key_of(float score, int64_t slot) {
  const bool good = score >= 0.0f && score <= 3.402823466e38f;
  const float value = good ? score + 0.0f : __int_as_float(0x7fc00000);  // -0 becomes 0
  return static_cast<uint64_t>(__float_as_uint(value)) << 32 |
         (0xffffffffu - static_cast<uint32_t>(slot));
}
__device__ __forceinline__ int32_t slot_of(uint64_t key) {
  return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(key));
}
__device__ __forceinline__ float score_of(uint64_t key) {
  return __uint_as_float(static_cast<uint32_t>(key >> 32));
}

// The largest key below `last`, in every lane.
__device__ __forceinline__ uint64_t next_key(const float* row, int64_t E, uint64_t last) {
  uint64_t best = 0;
  for (int64_t e = lane(); e < E; e += 32) {
    const uint64_t key = key_of(row[e], e);
    if (key < last && key > best) best = key;
  }
  return warp_reduce(best, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
}

// One block a word of tokens, one warp a token at a time.
__global__ void __launch_bounds__(kThreads)
    choose_kernel(const float* probs, int64_t N, int64_t E, RouteChoice choice, int64_t words,
                  RouteScratch scratch, float* sums) {
  uint32_t* const masks = scratch.masks + blockIdx.x;
  for (int64_t e = threadIdx.x; e <= E; e += kThreads) masks[e * words] = 0;
  __syncthreads();
  for (int t = warp_in_block(); t < kWordTokens; t += kWarps) {
    const int64_t n = int64_t{blockIdx.x} * kWordTokens + t;
    if (n >= N) break;
    uint64_t last = ~uint64_t{0};
    float mass = 0.0f;
    bool only_zeros = false;
    int64_t kept = 0;
    while (kept < choice.most) {
      last = next_key(probs + n * E, E, last);
      if (lane() == 0) {
        scratch.order[n * choice.most + kept] = slot_of(last);
        atomicOr(masks + slot_of(last) * words, 1u << t);
      }
      if (kept == 0) only_zeros = score_of(last) == 0.0f;
      mass += score_of(last);
      ++kept;
      if (choice.until_mass && !(mass < choice.p)) break;
    }
    if (lane() == 0) {
      scratch.kept[n] = static_cast<int32_t>(kept);
      sums[n] = only_zeros ? __int_as_float(0x7fc00000) : mass;
      atomicAdd(masks + E * words, static_cast<uint32_t>(kept));
    }
  }
}

// The largest key below `last` among the experts with a margin above 0, in every lane; 0 for none.
__device__ __forceinline__ uint64_t next_key_above(const float* row, const float* margins,
                                                   int64_t E, uint64_t last) {
  uint64_t best = 0;
  for (int64_t e = lane(); e < E; e += 32) {
    const uint64_t key = key_of(row[e], e);
    // NaN is kept, so that it shows.
    if (!(margins[e] <= 0.0f) && key < last && key > best) best = key;
  }
  return warp_reduce(best, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
}

// One block a word of tokens, one warp a token at a time.
__global__ void __launch_bounds__(kThreads)
    choose_any_kernel(const float* scores, const float* margins, int64_t N, int64_t E,
                      bool best_if_none, int64_t words, RouteScratch scratch, float* sums) {
  uint32_t* const masks = scratch.masks + blockIdx.x;
  for (int64_t e = threadIdx.x; e <= E; e += kThreads) masks[e * words] = 0;
  __syncthreads();
  for (int t = warp_in_block(); t < kWordTokens; t += kWarps) {
    const int64_t n = int64_t{blockIdx.x} * kWordTokens + t;
    if (n >= N) break;
    const float *const row = scores + n * E, *const margins_n = margins + n * E;
    int32_t kept = 0;
    bool good = true;
    uint64_t key = next_key_above(row, margins_n, E, ~uint64_t{0});
    const bool is_none = key == 0;
    if (is_none && best_if_none) key = next_key(row, E, ~uint64_t{0});
    while (key != 0) {
      const int32_t slot = slot_of(key);
      if (lane() == 0) {
        scratch.order[n * E + kept] = slot;
        atomicOr(masks + slot * words, 1u << t);
      }
      good = good && score_of(key) >= 0.0f && (is_none || margins_n[slot] > 0.0f);
      ++kept;
      key = next_key_above(row, margins_n, E, key);
    }
    if (lane() == 0) {
      scratch.kept[n] = kept;
      sums[n] = good ? static_cast<float>(kept) : __int_as_float(0x7fc00000);
      atomicAdd(masks + E * words, static_cast<uint32_t>(kept));
    }
  }
}

// The sum of the lanes' values up to the own one.
template <class T>
__device__ __forceinline__ T warp_inclusive_sum(T value) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const T before = __shfl_up_sync(kWholeWarp, value, distance);
    if (lane() >= distance) value += before;
  }
  return value;
}

// One warp an expert, and one for the pairs: where each word's begin among its own.
__global__ void __launch_bounds__(kThreads)
    scan_words_kernel(int64_t N, int64_t E, int64_t words, RouteScratch scratch, RoutePlan plan) {
  const int64_t e = warp_index();
  if (e > E) return;
  int32_t total = 0;
  for (int64_t first = 0; first < words; first += 32) {
    const int64_t word = first + lane();
    int32_t count = 0;
    if (word < words) {
      const uint32_t mask = scratch.masks[e * words + word];
      count = e < E ? __popc(mask) : static_cast<int32_t>(mask);
    }
    const int32_t through = total + warp_inclusive_sum(count);
    if (word < words) scratch.starts[e * words + word] = through - count;
    total = __shfl_sync(kWholeWarp, through, 31);
  }
  if (lane() == 0) *(e < E ? plan.tokens_per_expert + e : plan.token_offsets + N) = total;
}

// One warp.
__global__ void __launch_bounds__(32)
    scan_experts_kernel(int64_t E, int64_t row_alignment, RoutePlan plan) {
  int64_t total = 0;
  for (int64_t first = 0; first < E; first += 32) {
    const int64_t e = first + lane();
    const int64_t tokens = e < E ? plan.tokens_per_expert[e] : 0;
    const int64_t rows = (tokens + row_alignment - 1) / row_alignment * row_alignment;
    const int64_t through = total + warp_inclusive_sum(rows);
    if (e < E) plan.expert_offsets[e] = through - rows;
    total = __shfl_sync(kWholeWarp, through, 31);
  }
  if (lane() == 0) plan.expert_offsets[E] = total;
}

__device__ __forceinline__ bool renormalises(RouteWeights weights, int64_t N,
                                             const RoutePlan& plan) {
  return weights == RouteWeights::renormalised || weights == RouteWeights::equal ||
         (weights == RouteWeights::renormalised_if_shared && plan.token_offsets[N] > N);
}

// What divides a token's kept scores; NaN for a token with bad ones.
__device__ __forceinline__ float divisor_of(float sum, bool renormalise) {
  return renormalise || sum != sum ? sum : 1.0f;
}

__device__ void place_token(const float* probs, int64_t N, int64_t E, int64_t most,
                            RouteWeights weights, int64_t words, const RouteScratch& scratch,
                            const float* sums, const RoutePlan& plan, int64_t n) {
  const int64_t word = n / kWordTokens;
  const int t = static_cast<int>(n % kWordTokens);
  const int32_t earlier = lane() < t ? scratch.kept[word * kWordTokens + lane()] : 0;
  const int64_t first_pair = scratch.starts[E * words + word] +
                             warp_reduce(earlier, [](int32_t a, int32_t b) { return a + b; });
  if (lane() == 0) plan.token_offsets[n] = first_pair;
  const float divisor = divisor_of(sums[n], renormalises(weights, N, plan));
  const uint32_t earlier_tokens = (1u << t) - 1;
  for (int64_t j = lane(); j < scratch.kept[n]; j += 32) {
    const int32_t e = scratch.order[n * most + j];
    const int64_t pair = first_pair + j;
    const int64_t row = plan.expert_offsets[e] + scratch.starts[e * words + word] +
                        __popc(scratch.masks[e * words + word] & earlier_tokens);
    plan.expert_of_pair[pair] = e;
    plan.weights[pair] = (weights == RouteWeights::equal ? 1.0f : probs[n * E + e]) / divisor;
    plan.row_of_pair[pair] = static_cast<int32_t>(row);
    plan.token_of_row[row] = static_cast<int32_t>(n);
    plan.pair_of_row[row] = static_cast<int32_t>(pair);
  }
}

// One warp a token, then one an expert for the rows that pad it.
__global__ void __launch_bounds__(kThreads)
    place_kernel(const float* probs, int64_t N, int64_t E, int64_t most, RouteWeights weights,
                 int64_t words, RouteScratch scratch, const float* sums, RoutePlan plan) {
  const int64_t item = warp_index();
  if (item < N) {
    place_token(probs, N, E, most, weights, words, scratch, sums, plan, item);
  } else if (item < N + E) {
    const int64_t e = item - N, end = plan.expert_offsets[e + 1];
    for (int64_t row = plan.expert_offsets[e] + plan.tokens_per_expert[e] + lane(); row < end;
         row += 32) {
      plan.token_of_row[row] = -1;
      plan.pair_of_row[row] = -1;
    }
  }
}

// One warp a token.
__global__ void __launch_bounds__(kThreads)
    route_backward_kernel(RoutePlan plan, const float* sums, RouteWeights weights,
                          const float* dweights, int64_t N, int64_t E, float* dprobs,
                          bool overwrite) {
  const int64_t n = warp_index();
  if (n >= N) return;
  float* const dr = dprobs + n * E;
  if (overwrite) {
    for (int64_t e = lane(); e < E; e += 32) dr[e] = 0.0f;
    __syncwarp();
  }
  const bool renormalise = renormalises(weights, N, plan);
  const int64_t first = plan.token_offsets[n] + lane(), last = plan.token_offsets[n + 1];
  float mean = 0.0f;
  for (int64_t pair = first; pair < last; pair += 32) mean += dweights[pair] * plan.weights[pair];
  mean = renormalise ? warp_sum(mean) : 0.0f;
  const float divisor = divisor_of(sums[n], renormalise);
  for (int64_t pair = first; pair < last; pair += 32) {
    dr[plan.expert_of_pair[pair]] += (dweights[pair] - mean) / divisor;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    set_columns_kernel(T* x, int64_t N, int64_t E, const int64_t* columns, int64_t count,
                       float value) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < N * count) store(x + i / count * E + columns[i % count], value);
}

// From the chosen experts to the plan.
void number_pairs(const float* probs, int64_t N, int64_t E, int64_t most, RouteWeights weights,
                  int64_t row_alignment, const RouteScratch& scratch, const float* sums,
                  const RoutePlan& plan, Stream stream) {
  const int64_t words = route_words(N);
  launch(scan_words_kernel, blocks_for(E + 1, kWarps), kThreads, 0, stream, N, E, words, scratch,
         plan);
  launch(scan_experts_kernel, 1, 32, 0, stream, E, row_alignment, plan);
  if (N == 0) return;
  const int64_t padded = row_alignment > 1 ? E : 0;
  launch(place_kernel, blocks_for(N + padded, kWarps), kThreads, 0, stream, probs, N, E, most,
         weights, words, scratch, sums, plan);
}

}  // namespace

void route_forward(const float* probs, int64_t N, int64_t E, const RouteChoice& choice,
                   RouteWeights weights, int64_t row_alignment, const RouteScratch& scratch,
                   float* sums, const RoutePlan& plan, Stream stream) {
  const int64_t words = route_words(N);
  if (N > 0) {
    launch(choose_kernel, static_cast<unsigned>(words), kThreads, 0, stream, probs, N, E, choice,
           words, scratch, sums);
  }
  number_pairs(probs, N, E, choice.most, weights, row_alignment, scratch, sums, plan, stream);
}

void route_any_forward(const float* scores, const float* margins, int64_t N, int64_t E,
                       bool best_if_none, int64_t row_alignment, const RouteScratch& scratch,
                       float* sums, const RoutePlan& plan, Stream stream) {
  const int64_t words = route_words(N);
  if (N > 0) {
    launch(choose_any_kernel, static_cast<unsigned>(words), kThreads, 0, stream, scores, margins, N,
           E, best_if_none, words, scratch, sums);
  }
  number_pairs(scores, N, E, E, RouteWeights::equal, row_alignment, scratch, sums, plan, stream);
}

void route_backward(const RoutePlan& plan, const float* sums, RouteWeights weights,
                    const float* dweights, int64_t N, int64_t E, float* dprobs, bool overwrite,
                    Stream stream) {
  if (N == 0) return;
  launch(route_backward_kernel, blocks_for(N, kWarps), kThreads, 0, stream, plan, sums, weights,
         dweights, N, E, dprobs, overwrite);
}

template <class T>
void set_columns(T* x, int64_t N, int64_t E, const int64_t* columns, int64_t count, float value,
                 Stream stream) {
  if (N * count == 0) return;
  launch(set_columns_kernel<T>, blocks_for(N * count, kThreads), kThreads, 0, stream, x, N, E,
         columns, count, value);
}

template void set_columns(float*, int64_t, int64_t, const int64_t*, int64_t, float, Stream);
template void set_columns(bfloat16*, int64_t, int64_t, const int64_t*, int64_t, float, Stream);

}  // namespace offshoot::cuda
