// The frame of reductions: kernels that combine, in a fixed order and without atomics, what a walk
// has for each element of its output.
#pragma once

#include <utility>

#include "cuda/map.cuh"
#include "cuda/reduce.h"

namespace offshoot::cuda {

inline constexpr int kReduceThreads = 256;

// A walk divided into the axes along which its output moves and those that are reduced. A block's
// threads are a rectangle over both; neighbours go along the innermost axis. One row of blocks
// reduces one slice.
struct Reduction {
  Walk kept, reduced;
  int64_t kept_size, reduced_size;
  int kept_threads, reduced_threads;
  bool kept_inner;
  int64_t slices, slice_size;
};
Reduction plan_reduction(const Walk& walk);
// Of the slices' results [slices, kept_size], in one slice.
Reduction plan_join(const Reduction& first);

__device__ __forceinline__ Winner load(const Winner* at) { return *at; }

// The term of reduced element `index`, whose arrays begin at `first_offsets`.
template <class Reducer, size_t... kInputs, class... From>
__device__ __forceinline__ typename Reducer::State reduced_term(const Reducer& reducer,
                                                                const Walk& reduced, int64_t index,
                                                                const int64_t* first_offsets,
                                                                std::index_sequence<kInputs...>,
                                                                const From*... in) {
  int64_t offsets[1 + sizeof...(From)] = {};
  add_offsets(reduced, index, offsets);
  return reducer.term(index, load(in + first_offsets[kInputs + 1] + offsets[kInputs + 1])...);
}

// A Reducer has a State that begins as none(), term(i, values...) that is the State of reduced
// element i alone, and join(State, State).
template <class Reducer, class Sink, class... From>
__global__ void __launch_bounds__(kReduceThreads)
    reduce_kernel(Reduction r, Reducer reducer, Sink sink, typename Reducer::State* slice_states,
                  const From*... in) {
  using State = typename Reducer::State;
  __shared__ State states[kReduceThreads];
  const int thread = threadIdx.x;
  const int kept_thread = r.kept_inner ? thread % r.kept_threads : thread / r.reduced_threads;
  const int reduced_thread = r.kept_inner ? thread / r.kept_threads : thread % r.reduced_threads;
  const int64_t kept = int64_t{blockIdx.x} * r.kept_threads + kept_thread;
  State state = Reducer::none();
  if (kept < r.kept_size) {
    int64_t offsets[1 + sizeof...(From)] = {};
    add_offsets(r.kept, kept, offsets);
    const int64_t first = int64_t{blockIdx.y} * r.slice_size;
    const int64_t last = min(first + r.slice_size, r.reduced_size);
#pragma unroll 4
    for (int64_t i = first + reduced_thread; i < last; i += r.reduced_threads) {
      state = reducer.join(state, reduced_term(reducer, r.reduced, i, offsets,
                                               std::index_sequence_for<From...>(), in...));
    }
  }
  states[thread] = state;
  __syncthreads();
  const int step = r.kept_inner ? r.kept_threads : 1;
  for (int half = r.reduced_threads / 2; half > 0; half /= 2) {
    if (reduced_thread < half) {
      states[thread] = reducer.join(states[thread], states[thread + half * step]);
    }
    __syncthreads();
  }
  if (reduced_thread > 0 || kept >= r.kept_size) return;
  if (slice_states != nullptr) {
    slice_states[int64_t{blockIdx.y} * r.kept_size + kept] = states[thread];
  } else {
    sink(kept, states[thread]);
  }
}

template <class Reducer, class Sink, class... From>
void launch_reduction(const Reduction& r, Reducer reducer, Sink sink,
                      typename Reducer::State* slice_states, Stream stream, const From*... in) {
  launch(reduce_kernel<Reducer, Sink, From...>,
         dim3(blocks_for(r.kept_size, r.kept_threads), static_cast<unsigned>(r.slices)),
         kReduceThreads, 0, stream, r, reducer, sink, slice_states, in...);
}

// Calls sink(i, state) for each element i of the output, counted in the order of the walk.
// `scratch` is of reduction_scratch(walk) States. Reducer::Join reduces States alike.
template <class Reducer, class Sink, class... From>
void reduce(const Walk& walk, Reducer reducer, Sink sink, typename Reducer::State* scratch,
            Stream stream, const From*... in) {
  const Reduction r = plan_reduction(walk);
  if (r.kept_size == 0) return;
  if (r.slices == 1) {
    launch_reduction(r, reducer, sink, nullptr, stream, in...);
    return;
  }
  launch_reduction(r, reducer, sink, scratch, stream, in...);
  launch_reduction(plan_join(r), typename Reducer::Join(), sink, nullptr, stream, scratch);
}

struct Identity {
  __device__ float operator()(float value) const { return value; }
};

// The sum of f(values...).
template <class F>
struct SumOf {
  using State = float;
  using Join = SumOf<Identity>;

  F f;

  static __device__ State none() { return 0.0f; }
  template <class... Values>
  __device__ State term(int64_t, Values... values) const {
    return f(values...);
  }
  __device__ State join(State a, State b) const { return a + b; }
};

// to[i] (+)= factor * sum
template <class T>
struct AccumulateSum {
  T* to;
  bool overwrite;
  float factor = 1.0f;

  __device__ void operator()(int64_t i, float sum) const {
    accumulate(to + i, factor * sum, overwrite);
  }
};

// out (+)= f(in...) over the walk, summed where it repeats out. `scratch` is of
// reduction_scratch(walk) floats.
template <class F, class T, class... From>
void map_sum(const Walk& walk, F f, T* out, bool overwrite, float* scratch, Stream stream,
             const From*... in) {
  bool repeats = false;
  for (int axis = 0; axis < walk.num_axes; ++axis) repeats |= walk.strides[0][axis] == 0;
  if (repeats) {
    reduce(walk, SumOf<F>{f}, AccumulateSum<T>{out, overwrite}, scratch, stream, in...);
  } else {
    map(walk, f, out, overwrite, stream, in...);
  }
}

}  // namespace offshoot::cuda
