#include "cuda/kernel_utils.cuh"
#include "cuda/permute.h"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

template <int V, class T>
__device__ __forceinline__ Pack<T, V> load_pack(const T* at) {
  return *reinterpret_cast<const Pack<T, V>*>(at);
}
template <int V, class T>
__device__ __forceinline__ void store_pack(T* at, const Pack<T, V>& pack) {
  *reinterpret_cast<Pack<T, V>*>(at) = pack;
}

// at[0, V) (+)= values
template <int V, class T>
__device__ __forceinline__ void accumulate_pack(T* at, const float (&values)[V], bool overwrite) {
  Pack<T, V> pack;
  if (!overwrite) pack = load_pack<V>(at);
#pragma unroll
  for (int v = 0; v < V; ++v) accumulate(pack.at + v, values[v], overwrite);
  store_pack<V>(at, pack);
}

// One block a row.
template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    gather_rows_kernel(PermutePlan plan, const T* x, int64_t D, T* out) {
  const int64_t row = blockIdx.x;
  if (row >= *plan.num_rows) return;
  const int64_t token = plan.token_of_row[row];
  for (int64_t d = int64_t{threadIdx.x} * V; d < D; d += int64_t{blockDim.x} * V) {
    Pack<T, V> pack{};
    if (token >= 0) pack = load_pack<V>(x + token * D + d);
    store_pack<V>(out + row * D + d, pack);
  }
}

// One block a token.
template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    sum_pairs_kernel(PermutePlan plan, const T* rows, const float* weights, int64_t D, T* out,
                     bool overwrite) {
  const int64_t n = blockIdx.x;
  const int64_t first = plan.token_offsets[n], last = plan.token_offsets[n + 1];
  for (int64_t d = int64_t{threadIdx.x} * V; d < D; d += int64_t{blockDim.x} * V) {
    float sums[V] = {};
    for (int64_t pair = first; pair < last; ++pair) {
      const float weight = weights != nullptr ? weights[pair] : 1.0f;
      const Pack<T, V> pack = load_pack<V>(rows + plan.row_of_pair[pair] * D + d);
#pragma unroll
      for (int v = 0; v < V; ++v) sums[v] += weight * load(pack.at + v);
    }
    accumulate_pack<V>(out + n * D + d, sums, overwrite);
  }
}

// One block a row.
template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    sum_pairs_backward_kernel(PermutePlan plan, const T* y, const float* weights, const T* dout,
                              int64_t D, T* dy, bool overwrite_dy, float* dweights,
                              bool overwrite_dweights) {
  const int64_t row = blockIdx.x;
  if (row >= *plan.num_rows) return;
  const int64_t token = plan.token_of_row[row], pair = plan.pair_of_row[row];
  if (token < 0) {
    for (int64_t d = int64_t{threadIdx.x} * V; dy != nullptr && overwrite_dy && d < D;
         d += int64_t{blockDim.x} * V) {
      store_pack<V>(dy + row * D + d, Pack<T, V>{});
    }
    return;
  }
  const float weight = weights[pair];
  float sum = 0.0f;
  for (int64_t d = int64_t{threadIdx.x} * V; d < D; d += int64_t{blockDim.x} * V) {
    const Pack<T, V> dout_pack = load_pack<V>(dout + token * D + d);
    if (dweights != nullptr) {
      const Pack<T, V> y_pack = load_pack<V>(y + row * D + d);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        sum += load(dout_pack.at + v) * load(y_pack.at + v);
      }
    }
    if (dy != nullptr) {
      float values[V];
#pragma unroll
      for (int v = 0; v < V; ++v) values[v] = weight * load(dout_pack.at + v);
      accumulate_pack<V>(dy + row * D + d, values, overwrite_dy);
    }
  }
  if (dweights == nullptr) return;
  sum = block_sum(sum);
  if (threadIdx.x == 0) accumulate(dweights + pair, sum, overwrite_dweights);
}

// Calls f.operator()<V>() with V = 16 bytes of elements where all rows begin at a multiple of that.
template <class T, class F>
void with_packs(int64_t D, std::initializer_list<const T*> matrices, F f) {
  constexpr int kWide = 16 / sizeof(T);
  uintptr_t addresses = 0;
  for (const T* matrix : matrices) addresses |= reinterpret_cast<uintptr_t>(matrix);
  if (D % kWide == 0 && addresses % 16 == 0) {
    f.template operator()<kWide>();
  } else {
    f.template operator()<1>();
  }
}

}  // namespace

template <class T>
void gather_rows(const PermutePlan& plan, const T* x, int64_t D, T* out, Stream stream) {
  if (plan.capacity == 0) return;
  with_packs<T>(D, {x, out}, [&]<int V>() {
    launch(gather_rows_kernel<T, V>, static_cast<unsigned>(plan.capacity),
           row_threads(D / V, kThreads), 0, stream, plan, x, D, out);
  });
}

template <class T>
void sum_pairs(const PermutePlan& plan, const T* rows, const float* weights, int64_t D, T* out,
               bool overwrite, Stream stream) {
  if (plan.N == 0) return;
  with_packs<T>(D, {rows, out}, [&]<int V>() {
    launch(sum_pairs_kernel<T, V>, static_cast<unsigned>(plan.N), row_threads(D / V, kThreads), 0,
           stream, plan, rows, weights, D, out, overwrite);
  });
}

template <class T>
void sum_pairs_backward(const PermutePlan& plan, const T* y, const float* weights, const T* dout,
                        int64_t D, T* dy, bool overwrite_dy, float* dweights,
                        bool overwrite_dweights, Stream stream) {
  if (plan.capacity == 0) return;
  with_packs<T>(D, {y, dout, dy}, [&]<int V>() {
    launch(sum_pairs_backward_kernel<T, V>, static_cast<unsigned>(plan.capacity),
           row_threads(D / V, kThreads), 0, stream, plan, y, weights, dout, D, dy, overwrite_dy,
           dweights, overwrite_dweights);
  });
}

#define OFFSHOOT_PERMUTE(T)                                                                       \
  template void gather_rows(const PermutePlan&, const T*, int64_t, T*, Stream);                   \
  template void sum_pairs(const PermutePlan&, const T*, const float*, int64_t, T*, bool, Stream); \
  template void sum_pairs_backward(const PermutePlan&, const T*, const float*, const T*, int64_t, \
                                   T*, bool, float*, bool, Stream);
OFFSHOOT_PERMUTE(float)
OFFSHOOT_PERMUTE(bfloat16)
#undef OFFSHOOT_PERMUTE

}  // namespace offshoot::cuda
