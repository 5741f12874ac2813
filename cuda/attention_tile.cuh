// Tiles of attention in shared memory, and their products. A block of 16 x 8 threads holds a tile:
// thread (x, y) has rows [y * kRowsEach, (y + 1) * kRowsEach) and every 16th column from x on.
#pragma once

#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda {

inline constexpr int kTileAcross = 16, kTileDown = 8;
inline constexpr int kTileThreads = kTileAcross * kTileDown;
inline constexpr int kTileBlocks =
    2;  // of a multiprocessor at least: more registers than nvcc takes

__device__ __forceinline__ int tile_x() { return static_cast<int>(threadIdx.x) % kTileAcross; }
__device__ __forceinline__ int tile_y() { return static_cast<int>(threadIdx.x) / kTileAcross; }

// kRows rows of a head with up to kD columns, and kRows x kRows scores. Rows are padded by 4:
// float4 reads of the same column in 8 rows hit every bank once.
template <int kD>
struct AttentionTile {
  static constexpr int kRows = kD > 128 ? 16 : 32;
  static constexpr int kRowsEach = kRows / kTileDown;
  static constexpr int kScoresEach = kRows / kTileAcross;  // of a row
  static constexpr int kColumnsEach = kD / kTileAcross;    // of a row of a head
  static constexpr int kStride = kD + 4, kScoreStride = kRows + 4;
  static constexpr int kFloats = kRows * kStride, kScoreFloats = kRows * kScoreStride;

  using Scores = float[kRowsEach][kScoresEach];
  using Sums = float[kRowsEach][kColumnsEach];

  __device__ static int row(int i) { return tile_y() * kRowsEach + i; }
  __device__ static int column(int j) { return tile_x() + j * kTileAcross; }

  // tile[r, d] = factor * rows[first + r, d], and zeros beyond `count` rows and Dh columns.
  template <class T>
  __device__ static void fill(float* tile, const T* rows, int64_t stride, int64_t first,
                              int64_t count, int Dh, float factor = 1.0f) {
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kD; i += kTileThreads) {
      const int r = i / kD, d = i % kD;
      const bool inside = first + r < count && d < Dh;
      tile[r * kStride + d] = inside ? factor * load(rows + (first + r) * stride + d) : 0.0f;
    }
  }

  // products[i][j] = row(i) of a . row column(j) of b
  __device__ static void dot(const float* a, const float* b, int Dh, Scores& products) {
#pragma unroll
    for (int i = 0; i < kRowsEach; ++i) {
#pragma unroll
      for (int j = 0; j < kScoresEach; ++j) products[i][j] = 0.0f;
    }
    for (int d = 0; d < Dh; d += 4) {
      float4 right[kScoresEach];
#pragma unroll
      for (int j = 0; j < kScoresEach; ++j) right[j] = four(b + column(j) * kStride + d);
#pragma unroll
      for (int i = 0; i < kRowsEach; ++i) {
        const float4 left = four(a + row(i) * kStride + d);
#pragma unroll
        for (int j = 0; j < kScoresEach; ++j) {
          products[i][j] += left.x * right[j].x;
          products[i][j] += left.y * right[j].y;
          products[i][j] += left.z * right[j].z;
          products[i][j] += left.w * right[j].w;
        }
      }
    }
  }

  __device__ static void write(float* tile, int i, int j, float score) {
    tile[row(i) * kScoreStride + column(j)] = score;
  }

  // sums[i][c] += row(i) of scores . column(c) of x. A warp's rows of `scores` are its own.
  __device__ static void add_product(const float* scores, const float* x, Sums& sums) {
#pragma unroll 1
    for (int k = 0; k < kRows; k += 4) {
      float left[kRowsEach][4];
#pragma unroll
      for (int i = 0; i < kRowsEach; ++i) {
        const float4 p = four(scores + row(i) * kScoreStride + k);
        left[i][0] = p.x, left[i][1] = p.y, left[i][2] = p.z, left[i][3] = p.w;
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int c = 0; c < kColumnsEach; ++c) {
          const float right = x[(k + n) * kStride + column(c)];
#pragma unroll
          for (int i = 0; i < kRowsEach; ++i) sums[i][c] += left[i][n] * right;
        }
      }
    }
  }

 private:
  __device__ static float4 four(const float* at) { return *reinterpret_cast<const float4*>(at); }
};

// The combination over the threads that share a tile's row, in each of them.
template <class Combine>
__device__ __forceinline__ float across_tile(float value, Combine combine) {
#pragma unroll
  for (int distance = kTileAcross / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kWholeWarp, value, distance));
  }
  return value;
}

}  // namespace offshoot::cuda
