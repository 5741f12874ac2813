// Shared memory of cuda/grouped_gemm_hopper.cu: the stages of operands on their way from the copy
// engine to the tensor cores, and what else has its place there.
#pragma once

#include "cuda/grouped_tiles.cuh"
#include "cuda/hopper.cuh"

namespace offshoot::cuda::grouped {

constexpr int kConsumerWarps = 8;

// Of output, see cuda/grouped_store.cuh.
constexpr int kBoxRows = 16;
constexpr int kBoxBytes = kBoxRows * static_cast<int>(kBoxRowBytes);
constexpr int kWarpBoxes = 2;
constexpr int kOutputBytes = kConsumerWarps * kWarpBoxes * kBoxBytes;

// Operands of all stages, boxes of output, barriers.
template <class K>
constexpr size_t kSharedBytes =
    K::kStages*(K::kABytes + K::kBBytes + 2 * sizeof(Mbarrier)) + kOutputBytes;

// A stage's operands and barriers.
struct Stage {
  char *a, *b;
  Mbarrier *full, *empty;
};

// One thread's position among the stages.
template <class K>
class Pipeline {
 public:
  __device__ explicit Pipeline(char* shared) : shared_(shared) {}

  // By one thread, before any other uses it.
  __device__ void init_barriers() const {
    for (int i = 0; i < K::kStages; ++i) {
      init(stage(i).full, 1);
      init(stage(i).empty, kConsumerWarps);
    }
    fence_init();
  }

  __device__ Stage current() const { return stage(index_); }
  __device__ int parity() const { return parity_; }

  __device__ void advance() {
    if (++index_ < K::kStages) return;
    index_ = 0;
    parity_ ^= 1;
  }
  // Boxes of a consumer's warp.
  __device__ char* output(int warp) const { return outputs() + warp * kWarpBoxes * kBoxBytes; }

 private:
  __device__ Stage stage(int index) const {
    char* const b = shared_ + K::kStages * K::kABytes;
    return {shared_ + index * K::kABytes, b + index * K::kBBytes, barriers() + index,
            barriers() + K::kStages + index};
  }
  __device__ char* outputs() const { return shared_ + K::kStages * (K::kABytes + K::kBBytes); }
  __device__ Mbarrier* barriers() const {
    return reinterpret_cast<Mbarrier*>(outputs() + kOutputBytes);
  }

  char* shared_;
  int index_ = 0, parity_ = 0;
};

}  // namespace offshoot::cuda::grouped
