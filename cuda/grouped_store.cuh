// From the registers of a warpgroup to memory: the epilogues of cuda/grouped_gemm_hopper.cu.
#pragma once

#include "cuda/gelu.cuh"
#include "cuda/grouped_tiles.cuh"
#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda::grouped {

// Eight neighbouring elements, in one access.
__device__ __forceinline__ void load_eight(const float* at, float (&values)[8]) {
  const float4 low = reinterpret_cast<const float4*>(at)[0];
  const float4 high = reinterpret_cast<const float4*>(at)[1];
  values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
  values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}
struct __align__(16) EightBfloat16s {
  __nv_bfloat162 pairs[4];
};
__device__ __forceinline__ void load_eight(const bfloat16* at, float (&values)[8]) {
  const EightBfloat16s eight = *reinterpret_cast<const EightBfloat16s*>(at);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __bfloat1622float2(eight.pairs[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}
__device__ __forceinline__ void store_eight(bfloat16* at, const float (&values)[8]) {
  EightBfloat16s eight;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    eight.pairs[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
  }
  *reinterpret_cast<EightBfloat16s*>(at) = eight;
}

// Four lanes hold two columns each of four groups of eight; afterwards each holds a whole group.
__device__ __forceinline__ void gather_columns(float (&values)[4][2]) {
  const int lane = threadIdx.x % 4;
#pragma unroll
  for (int distance = 1; distance <= 2; distance *= 2) {
    const bool upper = (lane & distance) != 0;
#pragma unroll
    for (int group = 0; group < 4; ++group) {
      if ((group & distance) != 0) continue;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float &low = values[group][i], &high = values[group + distance][i];
        const float got = __shfl_xor_sync(kWholeWarp, upper ? low : high, distance);
        (upper ? low : high) = got;
      }
    }
  }
}

// What is written to out at [row, column] and the seven columns behind it.
template <Product kProduct>
__device__ __forceinline__ void finish(const Arguments& arguments, const float (&bias)[8],
                                       int64_t at, float (&values)[8]) {
  if constexpr (kProduct == Product::forward) {
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] += bias[i];
  } else if constexpr (kProduct == Product::forward_gelu) {
    float slopes[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const Gelu result = gelu(values[i] + bias[i]);
      values[i] = result.value;
      slopes[i] = result.slope;
    }
    if (arguments.slope != nullptr) store_eight(arguments.slope + at, slopes);
  } else if constexpr (kProduct == Product::backward_x_gelu) {
    float slopes[8];
    load_eight(arguments.slope_beneath + at, slopes);
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] *= slopes[i];
  } else if (!arguments.overwrite) {
    float before[8];
    load_eight(arguments.out + at, before);
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] += before[i];
  }
  store_eight(arguments.out + at, values);
}

template <Product kProduct, int kColumns>
__device__ __forceinline__ void store_rows(const Arguments& arguments, const Tile& tile,
                                           int first_row, const float (&sums)[kColumns / 2]) {
  const int lane = threadIdx.x % 32;
  const int64_t row =
      tile.first_row + tile.m * kRows + first_row + threadIdx.x / 32 % 4 * 16 + lane / 4;
#pragma unroll
  for (int groups = 0; groups < kColumns / 8; groups += 4) {
    const int column = tile.n * kColumns + (groups + lane % 4) * 8;
    const bool inside = column < arguments.N;
    float bias[8] = {};
    if (kIsForward<kProduct> && inside && arguments.bias.data != nullptr) {
      const int64_t at = tile.expert * arguments.N + column;
      if (arguments.bias.type == ElementType::f32) {
        load_eight(static_cast<const float*>(arguments.bias.data) + at, bias);
      } else {
        load_eight(static_cast<const bfloat16*>(arguments.bias.data) + at, bias);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float columns[4][2];
#pragma unroll
      for (int group = 0; group < 4; ++group) {
        columns[group][0] = sums[(groups + group) * 4 + half * 2];
        columns[group][1] = sums[(groups + group) * 4 + half * 2 + 1];
      }
      gather_columns(columns);
      if (!inside) continue;
      float values[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] = columns[i / 2][i % 2];
      finish<kProduct>(arguments, bias, (row + 8 * half) * arguments.N + column, values);
    }
  }
}

template <int kColumns>
__device__ __forceinline__ void store_weights(const Arguments& arguments, const Tile& tile,
                                              int first_row, const float (&sums)[kColumns / 2]) {
  const int lane = threadIdx.x % 32;
  const int first = tile.m * kRows + first_row + threadIdx.x / 32 % 4 * 16 + lane / 4;
#pragma unroll
  for (int group = 0; group < kColumns / 8; ++group) {
    const int column = tile.n * kColumns + group * 8 + lane % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + 8 * half;
      if (row >= arguments.M || column >= arguments.N) continue;
      const int64_t at = (tile.expert * arguments.M + row) * arguments.N + column;
      auto* const to = reinterpret_cast<float2*>(arguments.dweight + at);
      float2 pair = make_float2(sums[group * 4 + half * 2], sums[group * 4 + half * 2 + 1]);
      if (!arguments.overwrite) {
        pair.x += to->x;
        pair.y += to->y;
      }
      *to = pair;
    }
  }
}

}  // namespace offshoot::cuda::grouped
