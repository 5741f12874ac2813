// What cuda/grouped_gemm_hopper.cu computes, in which tiles, and who computes which.
#pragma once

#include "cuda/element_type.h"
#include "cuda/grouped_gemm.h"
#include "cuda/launch.cuh"
#include "cuda/tensor_map.cuh"

namespace offshoot::cuda::grouped {

// Output tiles are [kRows, kColumns] of a Kind. Of out, a tile's rows are those of one expert; of a
// weight gradient they are rows of the matrix, and the sum runs over the expert's rows.
enum class Product { forward, forward_gelu, backward_x, backward_x_gelu, backward_weight };

template <Product kTheProduct, int kTheColumns>
struct Kind {
  static constexpr Product kProduct = kTheProduct;
  static constexpr bool kForward =
      kProduct == Product::forward || kProduct == Product::forward_gelu;
  static constexpr bool kOverRows = kProduct == Product::backward_weight;

  static constexpr int kRows = 128;  // of a tile: 64 for each of two warpgroups of consumers
  static constexpr int kColumns = kTheColumns;
  static constexpr int kDepth = 64;  // of the sum's dimension, in a pipeline stage
  static constexpr int kStages = kColumns == 256 ? 4 : 6;
  static constexpr int kABytes = kRows * kDepth * 2, kBBytes = kColumns * kDepth * 2;
};

struct Arguments {
  const int64_t* offsets;
  const int64_t* device_num_experts;
  int64_t num_experts;
  int M, N, K;  // M of a weight gradient; K of the other products
  bool overwrite;
  ConstElements bias;
  bool wants_slope;
  const bfloat16* slope_beneath;
  // Read where they are not overwritten.
  const bfloat16* out;
  const float* dweight;
};

// Of what a product reads, and of what it writes.
struct InputMaps {
  CUtensorMap a, b;
};
struct OutputMaps {
  CUtensorMap out, slope;
};

struct Tile {
  int64_t expert;
  int first_row;  // of the expert
  int m, n;       // the tile in the expert's output
  int steps;      // of kDepth
};

// Numbers the tiles of all experts through, rows first: neighbours read the same part of b.
template <class K>
class Tiles {
 public:
  __device__ explicit Tiles(const Arguments& arguments)
      : arguments_(arguments),
        num_experts_(arguments.device_num_experts == nullptr ? arguments.num_experts
                                                             : *arguments.device_num_experts),
        across_((arguments.N + K::kColumns - 1) / K::kColumns) {
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
    tile.steps = K::kOverRows ? rows_ / K::kDepth : (arguments_.K + K::kDepth - 1) / K::kDepth;
    return true;
  }

 private:
  __device__ void read_expert() {
    if (expert_ >= num_experts_) return;
    first_row_ = static_cast<int>(arguments_.offsets[expert_]);
    rows_ = static_cast<int>(arguments_.offsets[expert_ + 1]) - first_row_;
    if (first_row_ % kWgmmaRows != 0 || rows_ % kWgmmaRows != 0) __trap();  // the caller's mistake
    down_ = ((K::kOverRows ? arguments_.M : rows_) + K::kRows - 1) / K::kRows;
  }

  const Arguments& arguments_;
  const int64_t num_experts_;
  const int across_;
  int64_t expert_ = 0;
  int first_number_ = 0;
  int first_row_ = 0, rows_ = 0, down_ = 0;  // of expert_
};

}  // namespace offshoot::cuda::grouped
