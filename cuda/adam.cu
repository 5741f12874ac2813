#include "cuda/adam.h"
#include "cuda/guard.cuh"
#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ void update(const AdamChunk& chunk, const AdamCoefficients& c,
                                       float grad, float& w, float& m, float& v) {
  const float decayed = w * chunk.keep;
  const float g = grad + chunk.l2 * w;
  m = c.beta1 * m + c.rest1 * g;
  v = c.beta2 * v + c.rest2 * g * g;
  w = decayed - chunk.step_size * m / (sqrtf(v) * chunk.scale + c.eps);
}

// Four elements at once where all four arrays allow it: the kernel is bound by memory.
__device__ __forceinline__ int64_t vectors_of(const AdamChunk& chunk) {
  const uintptr_t addresses =
      reinterpret_cast<uintptr_t>(chunk.value) | reinterpret_cast<uintptr_t>(chunk.grad) |
      reinterpret_cast<uintptr_t>(chunk.exp_avg) | reinterpret_cast<uintptr_t>(chunk.exp_avg_sq);
  return addresses % sizeof(float4) == 0 ? chunk.count / 4 : 0;
}

__global__ void __launch_bounds__(kThreads)
    adam_kernel(const AdamChunk* chunks, AdamCoefficients c, Guard guard) {
  if (!allows(guard)) return;
  const AdamChunk chunk = chunks[blockIdx.x];
  const int64_t vectors = vectors_of(chunk);
  for (int64_t i = threadIdx.x; i < vectors; i += kThreads) {
    float4* const value = reinterpret_cast<float4*>(chunk.value) + i;
    float4* const exp_avg = reinterpret_cast<float4*>(chunk.exp_avg) + i;
    float4* const exp_avg_sq = reinterpret_cast<float4*>(chunk.exp_avg_sq) + i;
    const float4 g = reinterpret_cast<const float4*>(chunk.grad)[i];
    float4 w = *value, m = *exp_avg, v = *exp_avg_sq;
    update(chunk, c, g.x, w.x, m.x, v.x);
    update(chunk, c, g.y, w.y, m.y, v.y);
    update(chunk, c, g.z, w.z, m.z, v.z);
    update(chunk, c, g.w, w.w, m.w, v.w);
    *value = w;
    *exp_avg = m;
    *exp_avg_sq = v;
  }
  for (int64_t i = 4 * vectors + threadIdx.x; i < chunk.count; i += kThreads) {
    update(chunk, c, chunk.grad[i], chunk.value[i], chunk.exp_avg[i], chunk.exp_avg_sq[i]);
  }
}

}  // namespace

void adam(const AdamChunk* chunks, int64_t num_chunks, const AdamCoefficients& coefficients,
          const Guard& guard, Stream stream) {
  if (num_chunks == 0) return;
  launch(adam_kernel, static_cast<unsigned>(num_chunks), kThreads, 0, stream, chunks, coefficients,
         guard);
}

}  // namespace offshoot::cuda
