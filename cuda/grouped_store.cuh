// From the registers of a warpgroup to memory: how the tiles of cuda/grouped_gemm_hopper.cu end.
//
// A thread holds, of each group of eight columns, two neighbours in two rows (cuda/wgmma.cuh). They
// go to boxes in shared memory, which the copy engine takes to the device's memory while the warp
// goes on; whatever the end of a tile reads has been fetched before its product.
#pragma once

#include "cuda/gelu.cuh"
#include "cuda/grouped_pipeline.cuh"
#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda::grouped {

// A warp's boxes: one is filled while the other is stored.
class Boxes {
 public:
  __device__ explicit Boxes(char* shared) : shared_(shared) {}

  // One that no store reads any more.
  __device__ __forceinline__ char* take() {
    wait_for_stores<kWarpBoxes - 1>();
    __syncwarp();
    taken_ = (taken_ + 1) % kWarpBoxes;
    return shared_ + taken_ * kBoxBytes;
  }
  // The warp has filled the box taken last.
  __device__ __forceinline__ void store(const CUtensorMap* map, int column, int row, int matrix) {
    fence_writes();
    __syncwarp();
    if (threadIdx.x % 32 != 0) return;
    store_box(shared_ + taken_ * kBoxBytes, map, column, row, matrix);
    commit_stores();
  }
  // Before shared memory goes.
  __device__ __forceinline__ void finish() { wait_for_stores<0>(); }

 private:
  char* shared_;
  int taken_ = 0;
};

// A pair of neighbours, two bfloat16s or two floats, and its place.
__device__ __forceinline__ float2 unpack(uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}
__device__ __forceinline__ uint32_t pack(float2 pair) {
  const __nv_bfloat162 rounded = __floats2bfloat162_rn(pair.x, pair.y);
  uint32_t word;
  memcpy(&word, &rounded, sizeof(word));
  return word;
}
__device__ __forceinline__ uint32_t load_pair(const bfloat16* at) {
  return *reinterpret_cast<const uint32_t*>(at);
}
__device__ __forceinline__ float2 load_pair(ConstElements from, int64_t at) {
  if (from.type == ElementType::bf16) {
    return unpack(load_pair(static_cast<const bfloat16*>(from.data) + at));
  }
  return *reinterpret_cast<const float2*>(static_cast<const float*>(from.data) + at);
}

// This thread's pairs of a warp's part of a tile: row + 8 half, column + 8 group.
struct Pairs {
  int row, column;

  __device__ Pairs(int first_row, int first_column)
      : row(first_row + threadIdx.x % 32 / 4), column(first_column + threadIdx.x % 4 * 2) {}
};

template <class Pair>
__device__ __forceinline__ void store_pair(char* box, int group, int half, Pair pair) {
  const int row = threadIdx.x % 32 / 4;
  const int byte = (group * 8 + threadIdx.x % 4 * 2) * static_cast<int>(sizeof(Pair) / 2);
  *reinterpret_cast<Pair*>(box + half * 8 * kBoxRowBytes + swizzled(row, byte)) = pair;
}

// What finishing a tile of out reads: a bias, or the slopes of the layer beneath.
template <class K>
class Fetched {
 public:
  __device__ Fetched(const Arguments& arguments, const Tile& tile, int first_row) {
    const Pairs pairs(first_row, tile.n * K::kColumns);
#pragma unroll
    for (int group = 0; group < K::kColumns / 8; ++group) {
      const int column = pairs.column + 8 * group;
      const bool inside = column < arguments.N;
      if constexpr (K::kForward) {
        bias_[group] = make_float2(0.0f, 0.0f);
        if (inside && arguments.bias.data != nullptr) {
          bias_[group] = load_pair(arguments.bias, tile.expert * arguments.N + column);
        }
      } else if constexpr (K::kProduct == Product::backward_x_gelu) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int64_t at = int64_t{pairs.row + 8 * half} * arguments.N + column;
          slopes_[group][half] = inside ? load_pair(arguments.slope_beneath + at) : 0;
        }
      }
    }
  }

  __device__ __forceinline__ float2 bias(int group) const { return bias_[group]; }
  __device__ __forceinline__ float2 slope(int group, int half) const {
    return unpack(slopes_[group][half]);
  }

 private:
  float2 bias_[K::kForward ? K::kColumns / 8 : 1];
  uint32_t slopes_[K::kProduct == Product::backward_x_gelu ? K::kColumns / 8 : 1][2];
};

// first_row: of the 16 that this warp has.
template <class K>
__device__ __forceinline__ void store_rows(const Arguments& arguments, const OutputMaps& maps,
                                           const Tile& tile, int first_row,
                                           const Fetched<K>& fetched,
                                           const float (&sums)[K::kColumns / 2], Boxes& boxes) {
  constexpr int kGroups = kBoxColumns<bfloat16> / 8;
#pragma unroll
  for (int box = 0; box < K::kColumns / 8 / kGroups; ++box) {
    const int first_column = tile.n * K::kColumns + box * kBoxColumns<bfloat16>;
    if (first_column >= arguments.N) break;
    const Pairs pairs(first_row, first_column);
    uint32_t slopes[kGroups][2];
    char* to = boxes.take();
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int all_groups = box * kGroups + group;
        float2 pair =
            make_float2(sums[all_groups * 4 + half * 2], sums[all_groups * 4 + half * 2 + 1]);
        if constexpr (K::kForward) {
          pair.x += fetched.bias(all_groups).x;
          pair.y += fetched.bias(all_groups).y;
        }
        if constexpr (K::kProduct == Product::forward_gelu) {
          const Gelu x = rough_gelu(pair.x), y = rough_gelu(pair.y);
          pair = make_float2(x.value, y.value);
          slopes[group][half] = pack(make_float2(x.slope, y.slope));
        } else if constexpr (K::kProduct == Product::backward_x_gelu) {
          pair.x *= fetched.slope(all_groups, half).x;
          pair.y *= fetched.slope(all_groups, half).y;
        } else if (K::kProduct == Product::backward_x && !arguments.overwrite &&
                   pairs.column + 8 * group < arguments.N) {
          const int64_t row = pairs.row + 8 * half;
          const float2 before =
              unpack(load_pair(arguments.out + row * arguments.N + pairs.column + 8 * group));
          pair.x += before.x;
          pair.y += before.y;
        }
        store_pair(to, group, half, pack(pair));
      }
    }
    boxes.store(&maps.out, first_column, first_row, 0);
    if constexpr (K::kProduct == Product::forward_gelu) {
      if (!arguments.wants_slope) continue;
      to = boxes.take();
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
#pragma unroll
        for (int half = 0; half < 2; ++half) store_pair(to, group, half, slopes[group][half]);
      }
      boxes.store(&maps.slope, first_column, first_row, 0);
    }
  }
}

template <class K>
__device__ __forceinline__ void store_weights(const Arguments& arguments, const OutputMaps& maps,
                                              const Tile& tile, int first_row,
                                              const float (&sums)[K::kColumns / 2], Boxes& boxes) {
  constexpr int kGroups = kBoxColumns<float> / 8;
#pragma unroll
  for (int box = 0; box < K::kColumns / 8 / kGroups; ++box) {
    const int first_column = tile.n * K::kColumns + box * kBoxColumns<float>;
    if (first_column >= arguments.N || first_row >= arguments.M) break;
    const Pairs pairs(first_row, first_column);
    char* const to = boxes.take();
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = (box * kGroups + group) * 4 + half * 2;
        float2 pair = make_float2(sums[at], sums[at + 1]);
        const int row = pairs.row + 8 * half, column = pairs.column + 8 * group;
        if (!arguments.overwrite && row < arguments.M && column < arguments.N) {
          const int64_t before_at = (tile.expert * arguments.M + row) * arguments.N + column;
          const float2 before = *reinterpret_cast<const float2*>(arguments.dweight + before_at);
          pair.x += before.x;
          pair.y += before.y;
        }
        store_pair(to, group, half, pair);
      }
    }
    boxes.store(&maps.out, first_column, first_row, static_cast<int>(tile.expert));
  }
}

}  // namespace offshoot::cuda::grouped
