#include <algorithm>
#include <bit>

#include "cuda/reduce.cuh"

namespace offshoot::cuda {
namespace {

constexpr int64_t kWarp = 32;

// Elements that a thread reduces, at least, before more slices share the work.
constexpr int64_t kThreadElements = 16;

// Blocks that occupy any device. A constant: the order of sums must not depend on the device.
constexpr int64_t kManyBlocks = 1024;

int64_t power_of_two(int64_t at_least) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(1, at_least))));
}

int64_t quotient(int64_t count, int64_t divisor) { return (count + divisor - 1) / divisor; }

// Chooses the rectangle of threads: along the innermost axis at least a warp where there is use.
void place_threads(Reduction& r) {
  int64_t reduced = power_of_two(r.reduced_size);
  if (r.kept_inner) {
    const int64_t kept = std::min(kWarp, power_of_two(r.kept_size));
    reduced = std::min(reduced, kReduceThreads / kept);
  } else if (reduced > kWarp) {
    reduced = std::clamp<int64_t>(reduced / 4, kWarp, kReduceThreads);
  }
  r.reduced_threads = static_cast<int>(reduced);
  r.kept_threads = static_cast<int>(kReduceThreads / reduced);
}

struct Times {
  float factor;
  __device__ float operator()(float value) const { return factor * value; }
};

// Of equal elements the first wins; a NaN wins over nothing but an empty State.
struct FirstLargest {
  using State = Winner;
  using Join = FirstLargest;

  static __device__ State none() { return {-1, 0.0f}; }
  __device__ State term(int64_t i, float value) const { return {i, value}; }
  __device__ State term(int64_t, State state) const { return state; }
  __device__ State join(State a, State b) const {
    if (b.index < 0) return a;
    const bool first = b.value == a.value && b.index < a.index;
    return a.index < 0 || b.value > a.value || first ? b : a;
  }
};

template <class T>
struct StoreWinner {
  T* out;
  int64_t* winners;

  __device__ void operator()(int64_t i, Winner winner) const {
    winners[i] = winner.index;
    if (out != nullptr) store(out + i, winner.value);
  }
};

template <class T>
__global__ void __launch_bounds__(kMapThreads)
    max_backward_kernel(const int64_t* winners, const T* dout, int64_t results, int64_t count,
                        int64_t inner, T* dx) {
  const int64_t i = int64_t{blockIdx.x} * kMapThreads + threadIdx.x;
  if (i >= results) return;
  const int64_t o = i / inner;
  const int64_t at = (o * count + winners[i]) * inner + (i - o * inner);
  accumulate(dx + at, load(dout + i), false);
}

}  // namespace

Reduction plan_reduction(const Walk& walk) {
  Reduction r{};
  for (int axis = 0; axis < walk.num_axes; ++axis) {
    Walk& half = walk.strides[0][axis] != 0 ? r.kept : r.reduced;
    half.sizes[half.num_axes] = walk.sizes[axis];
    for (int array = 0; array < Walk::kMaxArrays; ++array) {
      half.strides[array][half.num_axes] = walk.strides[array][axis];
    }
    ++half.num_axes;
  }
  r.kept_size = r.kept.size();
  r.reduced_size = r.reduced.size();
  r.kept_inner = walk.num_axes == 0 || walk.strides[0][0] != 0;
  place_threads(r);
  const int64_t blocks = std::max<int64_t>(1, quotient(r.kept_size, r.kept_threads));
  const int64_t most = r.reduced_size / (r.reduced_threads * kThreadElements);
  const int64_t slices = std::clamp<int64_t>(kManyBlocks / blocks, 1, std::max<int64_t>(1, most));
  r.slice_size = std::max<int64_t>(1, quotient(r.reduced_size, slices));
  r.slices = std::max<int64_t>(1, quotient(r.reduced_size, r.slice_size));
  return r;
}

Reduction plan_join(const Reduction& first) {
  Walk walk;
  walk.add_axis(first.kept_size, {1, 1});
  walk.add_axis(first.slices, {0, first.kept_size});
  Reduction r = plan_reduction(walk);
  r.slices = 1;
  r.slice_size = first.slices;
  return r;
}

int64_t reduction_scratch(const Walk& walk) {
  const Reduction r = plan_reduction(walk);
  return r.slices == 1 ? 0 : r.slices * r.kept_size;
}

template <class T>
void sum_forward(const Walk& walk, const T* x, float factor, float* scratch, T* out,
                 Stream stream) {
  reduce(walk, SumOf<Identity>{}, AccumulateSum<T>{out, true, factor}, scratch, stream, x);
}

template <class T>
void sum_backward(const Walk& walk, const T* dout, float factor, T* dx, bool overwrite,
                  Stream stream) {
  map(walk, Times{factor}, dx, overwrite, stream, dout);
}

template <class T>
void max_forward(const Walk& walk, const T* x, Winner* scratch, T* out, int64_t* winners,
                 Stream stream) {
  reduce(walk, FirstLargest(), StoreWinner<T>{out, winners}, scratch, stream, x);
}

template <class T>
void max_backward(const int64_t* winners, const T* dout, int64_t outer, int64_t count,
                  int64_t inner, T* dx, Stream stream) {
  const int64_t results = outer * inner;
  if (results == 0) return;
  launch(max_backward_kernel<T>, blocks_for(results, kMapThreads), kMapThreads, 0, stream, winners,
         dout, results, count, inner, dx);
}

#define OFFSHOOT_REDUCE(T)                                                         \
  template void sum_forward(const Walk&, const T*, float, float*, T*, Stream);     \
  template void sum_backward(const Walk&, const T*, float, T*, bool, Stream);      \
  template void max_forward(const Walk&, const T*, Winner*, T*, int64_t*, Stream); \
  template void max_backward(const int64_t*, const T*, int64_t, int64_t, int64_t, T*, Stream);
OFFSHOOT_REDUCE(float)
OFFSHOOT_REDUCE(bfloat16)
#undef OFFSHOOT_REDUCE

}  // namespace offshoot::cuda
