#include "cuda/elements.h"
#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;

// Elements of one thread, kThreads apart: few enough blocks for any size.
constexpr int64_t kPerThread = 4;

// Calls f(i) for this thread's share of [0, count).
template <class F>
__device__ __forceinline__ void each_element(int64_t count, F f) {
  const int64_t first = int64_t{blockIdx.x} * kThreads * kPerThread + threadIdx.x;
#pragma unroll
  for (int64_t k = 0; k < kPerThread; ++k) {
    if (first + k * kThreads < count) f(first + k * kThreads);
  }
}

template <class Word>
__global__ void __launch_bounds__(kThreads) fill_zero_kernel(Word* to, int64_t count) {
  each_element(count, [=](int64_t i) { to[i] = Word{0}; });
}

template <class Word>
__global__ void __launch_bounds__(kThreads) copy_kernel(const Word* from, Word* to, int64_t count) {
  each_element(count, [=](int64_t i) { to[i] = from[i]; });
}

template <class From, class To, int kCount>
__global__ void __launch_bounds__(kThreads)
    accumulate_kernel(const Pack<From, kCount>* from, Pack<To, kCount>* to, int64_t packs,
                      bool overwrite) {
  each_element(packs, [=](int64_t i) {
    const Pack<From, kCount> values = from[i];
    Pack<To, kCount> sums;
    if (!overwrite) sums = to[i];
#pragma unroll
    for (int k = 0; k < kCount; ++k) accumulate(sums.at + k, load(values.at + k), overwrite);
    to[i] = sums;
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    scale_kernel(const T* from, T* to, int64_t count, float factor) {
  each_element(count, [=](int64_t i) { store(to + i, factor * load(from + i)); });
}

unsigned blocks_of(int64_t count) { return blocks_for(count, kThreads * kPerThread); }

// Whole words where both addresses allow it.
bool in_words(const void* a, const void* b, int64_t bytes) {
  constexpr uintptr_t kWord = sizeof(uint64_t);
  return (reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) |
          static_cast<uintptr_t>(bytes)) %
             kWord ==
         0;
}

}  // namespace

void fill_zero(void* to, int64_t bytes, Stream stream) {
  if (bytes == 0) return;
  if (in_words(to, to, bytes)) {
    const int64_t count = bytes / 8;
    launch(fill_zero_kernel<uint64_t>, blocks_of(count), kThreads, 0, stream,
           static_cast<uint64_t*>(to), count);
  } else {
    launch(fill_zero_kernel<uint8_t>, blocks_of(bytes), kThreads, 0, stream,
           static_cast<uint8_t*>(to), bytes);
  }
}

void copy(const void* from, void* to, int64_t bytes, Stream stream) {
  if (bytes == 0) return;
  if (in_words(from, to, bytes)) {
    const int64_t count = bytes / 8;
    launch(copy_kernel<uint64_t>, blocks_of(count), kThreads, 0, stream,
           static_cast<const uint64_t*>(from), static_cast<uint64_t*>(to), count);
  } else {
    launch(copy_kernel<uint8_t>, blocks_of(bytes), kThreads, 0, stream,
           static_cast<const uint8_t*>(from), static_cast<uint8_t*>(to), bytes);
  }
}

void load_copy() {
  load_kernel(reinterpret_cast<const void*>(copy_kernel<uint64_t>));
  load_kernel(reinterpret_cast<const void*>(copy_kernel<uint8_t>));
}

template <int kCount, class From, class To>
void accumulate_packs(const From* from, To* to, int64_t count, bool overwrite, Stream stream) {
  launch(accumulate_kernel<From, To, kCount>, blocks_of(count / kCount), kThreads, 0, stream,
         reinterpret_cast<const Pack<From, kCount>*>(from), reinterpret_cast<Pack<To, kCount>*>(to),
         count / kCount, overwrite);
}

template <class From, class To>
void accumulate_elements(const From* from, To* to, int64_t count, bool overwrite, Stream stream) {
  if (count == 0) return;
  constexpr int kWide = 4;
  if (count % kWide == 0 && reinterpret_cast<uintptr_t>(from) % (kWide * sizeof(From)) == 0 &&
      reinterpret_cast<uintptr_t>(to) % (kWide * sizeof(To)) == 0) {
    accumulate_packs<kWide>(from, to, count, overwrite, stream);
  } else {
    accumulate_packs<1>(from, to, count, overwrite, stream);
  }
}

template <class T>
void scale_elements(const T* from, T* to, int64_t count, float factor, Stream stream) {
  if (count == 0) return;
  launch(scale_kernel<T>, blocks_of(count), kThreads, 0, stream, from, to, count, factor);
}

template void accumulate_elements(const float*, float*, int64_t, bool, Stream);
template void accumulate_elements(const float*, bfloat16*, int64_t, bool, Stream);
template void accumulate_elements(const bfloat16*, float*, int64_t, bool, Stream);
template void accumulate_elements(const bfloat16*, bfloat16*, int64_t, bool, Stream);
template void scale_elements(const float*, float*, int64_t, float, Stream);
template void scale_elements(const bfloat16*, bfloat16*, int64_t, float, Stream);

}  // namespace offshoot::cuda
