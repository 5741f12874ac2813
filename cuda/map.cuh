// The frame of kernels that give every element of an output a function of one element of each
// input: the pointers' elements as floats, 16 bytes at a time where the walk allows it.
#pragma once

#include <algorithm>
#include <utility>

#include "cuda/walk.cuh"

namespace offshoot::cuda {

inline constexpr int kMapThreads = 256;

template <int kPack>
struct Floats {
  float at[kPack];
};

// kPack elements, all of them the first one where `stride` is 0.
template <int kPack, class T>
__device__ __forceinline__ Floats<kPack> load_pack(const T* from, int64_t stride) {
  Floats<kPack> values;
  if (kPack == 1 || stride == 0) {
    const float value = load(from);
#pragma unroll
    for (float& each : values.at) each = value;
    return values;
  }
  const Pack<T, kPack> pack = *reinterpret_cast<const Pack<T, kPack>*>(from);
#pragma unroll
  for (int k = 0; k < kPack; ++k) values.at[k] = load(pack.at + k);
  return values;
}

template <int kPack, class T>
__device__ __forceinline__ void accumulate_pack(T* to, const Floats<kPack>& values,
                                                bool overwrite) {
  Pack<T, kPack>& target = *reinterpret_cast<Pack<T, kPack>*>(to);
  Pack<T, kPack> pack;
  if (!overwrite) pack = target;
#pragma unroll
  for (int k = 0; k < kPack; ++k) accumulate(pack.at + k, values.at[k], overwrite);
  target = pack;
}

template <int kPack, class F, class... Values>
__device__ __forceinline__ Floats<kPack> apply(const F& f, const Values&... values) {
  Floats<kPack> results;
#pragma unroll
  for (int k = 0; k < kPack; ++k) results.at[k] = f(values.at[k]...);
  return results;
}

template <int kPack, class F, class To, size_t... kInputs, class... From>
__device__ __forceinline__ void map_pack(const Walk& walk, const F& f, To* out, bool overwrite,
                                         int64_t index, std::index_sequence<kInputs...>,
                                         const From*... in) {
  int64_t offsets[1 + sizeof...(From)] = {};
  add_offsets(walk, index, offsets);
  accumulate_pack(
      out + offsets[0],
      apply<kPack>(f, load_pack<kPack>(in + offsets[kInputs + 1], walk.strides[kInputs + 1][0])...),
      overwrite);
}

// One thread a pack.
template <int kPack, class F, class To, class... From>
__global__ void __launch_bounds__(kMapThreads)
    map_kernel(Walk walk, int64_t size, F f, To* out, bool overwrite, const From*... in) {
  const int64_t index = (int64_t{blockIdx.x} * kMapThreads + threadIdx.x) * kPack;
  if (index >= size) return;
  map_pack<kPack>(walk, f, out, overwrite, index, std::index_sequence_for<From...>(), in...);
}

// Whether packs of `pack` elements of an array lie side by side at whole multiples of their size.
inline bool packs(const Walk& walk, int array, int64_t pack, const void* data, size_t bytes) {
  const int64_t* const strides = walk.strides[array];
  if (walk.num_axes == 0 || walk.sizes[0] % pack != 0) return false;
  if (strides[0] == 0 && array > 0) return true;
  bool whole = strides[0] == 1 && reinterpret_cast<uintptr_t>(data) % (pack * bytes) == 0;
  for (int axis = 1; axis < walk.num_axes; ++axis) whole = whole && strides[axis] % pack == 0;
  return whole;
}

// out (+)= f(in...) over the walk, whose array 0 is out. Each element of out is met once.
template <class F, class To, class... From>
void map(const Walk& walk, F f, To* out, bool overwrite, Stream stream, const From*... in) {
  constexpr int kPack = 16 / static_cast<int>(std::max({sizeof(To), sizeof(From)...}));
  const int64_t size = walk.size();
  if (size == 0) return;
  int array = 0;
  bool whole = packs(walk, 0, kPack, out, sizeof(To));
  ((whole = packs(walk, ++array, kPack, in, sizeof(From)) && whole), ...);
  if (whole) {
    launch(map_kernel<kPack, F, To, From...>, blocks_for(size, kMapThreads * kPack), kMapThreads, 0,
           stream, walk, size, f, out, overwrite, in...);
  } else {
    launch(map_kernel<1, F, To, From...>, blocks_for(size, kMapThreads), kMapThreads, 0, stream,
           walk, size, f, out, overwrite, in...);
  }
}

// A Function has value(x) and gradient(saved, dout).
template <class Function>
struct Value {
  Function function;
  __device__ float operator()(float x) const { return function.value(x); }
};
template <class Function>
struct Gradient {
  Function function;
  __device__ float operator()(float saved, float dout) const {
    return function.gradient(saved, dout);
  }
};

template <class Function, class T>
void map_value(Function function, const T* x, int64_t count, T* out, Stream stream) {
  map(Walk::line(count), Value<Function>{function}, out, true, stream, x);
}

// `saved` is null where gradient() does not read it.
template <class Function, class T>
void map_gradient(Function function, const T* saved, const T* dout, int64_t count, T* dx,
                  bool overwrite, Stream stream) {
  map(Walk::line(count), Gradient<Function>{function}, dx, overwrite, stream,
      saved != nullptr ? saved : dout, dout);
}

}  // namespace offshoot::cuda
