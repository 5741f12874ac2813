#include "cuda/dropout.h"
#include "cuda/kernel_utils.cuh"
#include "cuda/philox.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

// The elements of one block of Philox.
constexpr int kPack = 4;

// One thread a pack; `aligned`: packs are at multiples of their size, in x and out.
template <class T>
__global__ void __launch_bounds__(kThreads)
    dropout_kernel(DropoutMask mask, const T* x, float scale, int64_t size, bool aligned, T* out,
                   bool overwrite) {
  const int64_t block = int64_t{blockIdx.x} * kThreads + threadIdx.x, first = kPack * block;
  if (first >= size) return;
  const PhiloxBlock random = philox(mask.seed, mask.stream, static_cast<uint64_t>(block));
  const auto kept = [&](int k, const T* from) {
    return random.words[k] >= mask.threshold ? load(from) * scale : 0.0f;
  };
  if (aligned && first + kPack <= size) {
    const auto from = *reinterpret_cast<const Pack<T, kPack>*>(x + first);
    auto* const target = reinterpret_cast<Pack<T, kPack>*>(out + first);
    Pack<T, kPack> to{};
    if (!overwrite) to = *target;
#pragma unroll
    for (int k = 0; k < kPack; ++k) accumulate(to.at + k, kept(k, from.at + k), overwrite);
    *target = to;
    return;
  }
#pragma unroll
  for (int k = 0; k < kPack; ++k) {
    if (first + k < size) accumulate(out + first + k, kept(k, x + first + k), overwrite);
  }
}

}  // namespace

template <class T>
void dropout(const DropoutMask& mask, const T* x, float scale, int64_t size, T* out, bool overwrite,
             Stream stream) {
  if (size == 0) return;
  const auto addresses = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(out);
  launch(dropout_kernel<T>, blocks_for(size, kPack * kThreads), kThreads, 0, stream, mask, x, scale,
         size, addresses % sizeof(Pack<T, kPack>) == 0, out, overwrite);
}

template void dropout(const DropoutMask&, const float*, float, int64_t, float*, bool, Stream);
template void dropout(const DropoutMask&, const bfloat16*, float, int64_t, bfloat16*, bool, Stream);

}  // namespace offshoot::cuda
