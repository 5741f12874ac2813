#include "cuda/guard.cuh"
#include "cuda/kernel_utils.cuh"
#include "cuda/sgd.h"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    sgd_kernel(const SgdChunk* chunks, float momentum, Guard guard) {
  if (!allows(guard)) return;
  const SgdChunk chunk = chunks[blockIdx.x];
  for (int64_t i = threadIdx.x; i < chunk.count; i += kThreads) {
    const float w = chunk.value[i];
    float step = chunk.grad[i] + chunk.decay * w;
    if (chunk.momentum != nullptr) {
      step = momentum * chunk.momentum[i] + step;
      chunk.momentum[i] = step;
    }
    chunk.value[i] = w - chunk.rate * step;
  }
}

}  // namespace

void sgd(const SgdChunk* chunks, int64_t num_chunks, float momentum, const Guard& guard,
         Stream stream) {
  if (num_chunks == 0) return;
  launch(sgd_kernel, static_cast<unsigned>(num_chunks), kThreads, 0, stream, chunks, momentum,
         guard);
}

}  // namespace offshoot::cuda
