// The output of cuda/grouped_gemm_hopper.cu in tiles, and who computes which.
#pragma once

#include "cuda/element_type.h"
#include "cuda/launch.cuh"

namespace offshoot::cuda::grouped {

constexpr int kRows = 128;  // of an output tile: 64 for each of two warpgroups of consumers
constexpr int kDepth = 64;  // of the sum's dimension, in a pipeline stage

// Output tiles are [kRows, kColumns]. Of out, a tile's rows are those of one expert; of a weight
// gradient they are rows of the matrix, and the sum runs over the expert's rows.
enum class Product { forward, forward_gelu, backward_x, backward_x_gelu, backward_weight };

template <Product kProduct>
constexpr bool kIsForward = kProduct == Product::forward || kProduct == Product::forward_gelu;
template <Product kProduct>
constexpr bool kOverRows = kProduct == Product::backward_weight;

struct Arguments {
  const int64_t* offsets;
  const int64_t* device_num_experts;
  int64_t num_experts;
  int M, N, K;  // M of a weight gradient; K of the other products
  bool overwrite;
  ConstElements bias;
  const bfloat16* slope_beneath;
  bfloat16 *out, *slope;
  float* dweight;
};

struct Tile {
  int64_t expert;
  int first_row;  // of the expert
  int m, n;       // the tile in the expert's output
  int steps;      // of kDepth
};

// Numbers the tiles of all experts through, rows first: neighbours read the same part of b.
template <Product kProduct, int kColumns>
class Tiles {
 public:
  __device__ explicit Tiles(const Arguments& arguments)
      : arguments_(arguments),
        num_experts_(arguments.device_num_experts == nullptr ? arguments.num_experts
                                                             : *arguments.device_num_experts),
        across_((arguments.N + kColumns - 1) / kColumns) {
    read_expert();
  }

  // Numbers rise from call to call. False behind the last tile.
  __device__ bool find(int number, Tile& tile) {
    while (expert_ < num_experts_ && number - first_number_ >= down_ * across_) {
      first_number_ += down_ * across_;
      ++expert_;
      read_expert();
    }
    if (expert_ >= num_experts_) return false;
    const int within = number - first_number_;
    tile.expert = expert_;
    tile.first_row = first_row_;
    tile.m = within % down_;
    tile.n = within / down_;
    tile.steps = kOverRows<kProduct> ? rows_ / kDepth : (arguments_.K + kDepth - 1) / kDepth;
    return true;
  }

 private:
  __device__ void read_expert() {
    if (expert_ >= num_experts_) return;
    first_row_ = static_cast<int>(arguments_.offsets[expert_]);
    rows_ = static_cast<int>(arguments_.offsets[expert_ + 1]) - first_row_;
    if (first_row_ % kRows != 0 || rows_ % kRows != 0) __trap();  // the caller's mistake
    down_ = ((kOverRows<kProduct> ? arguments_.M : rows_) + kRows - 1) / kRows;
  }

  const Arguments& arguments_;
  const int64_t num_experts_;
  const int across_;
  int64_t expert_ = 0;
  int first_number_ = 0;
  int first_row_ = 0, rows_ = 0, down_ = 0;  // of expert_
};

}  // namespace offshoot::cuda::grouped
