#include <algorithm>

#include "cuda/context.h"
#include "cuda/grouped_gemm_hopper.h"
#include "cuda/grouped_store.cuh"
#include "cuda/grouped_tiles.cuh"
#include "cuda/hopper.cuh"

namespace offshoot::cuda {
namespace {

using grouped::Arguments;
using grouped::kDepth;
using grouped::kIsForward;
using grouped::kOverRows;
using grouped::kRows;
using grouped::Product;
using grouped::Tile;
using grouped::Tiles;

constexpr int kThreads = 384;    // a producer's warpgroup comes first
constexpr int kBoxColumns = 64;  // what 128-byte swizzling allows

// 65536 registers of a block, in warpgroups. Other architectures have no use for these.
[[maybe_unused]] constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
[[maybe_unused]] constexpr int kConsumerWarps = 8;

constexpr int kABytes = kRows * kDepth * 2;
template <int kColumns>
constexpr int kBBytes = kColumns* kDepth * 2;
template <int kColumns>
constexpr int kStages = kColumns == 256 ? 4 : 6;
template <int kColumns>
constexpr size_t kSharedBytes = kStages<kColumns>*(kABytes + kBBytes<kColumns> +
                                                   2 * sizeof(Mbarrier));

// Where a stage's operands and barriers are.
template <int kColumns>
struct Stage {
  char *a, *b;
  Mbarrier *full, *empty;
};

template <int kColumns>
class Pipeline {
 public:
  __device__ explicit Pipeline(char* shared) : shared_(shared) {}

  __device__ Stage<kColumns> stage(int index) const {
    constexpr int kAll = kStages<kColumns>;
    char* const b = shared_ + kAll * kABytes;
    auto* const barriers = reinterpret_cast<Mbarrier*>(b + kAll * kBBytes<kColumns>);
    return {shared_ + index * kABytes, b + index * kBBytes<kColumns>, barriers + index,
            barriers + kAll + index};
  }
  __device__ Stage<kColumns> current() const { return stage(index_); }
  __device__ int parity() const { return parity_; }

  __device__ void advance() {
    if (++index_ < kStages<kColumns>) return;
    index_ = 0;
    parity_ ^= 1;
  }

 private:
  char* shared_;
  int index_ = 0, parity_ = 0;
};

// Boxes of kDepth rows, side by side in the matrix and one behind the other in shared memory.
template <int kWidth>
__device__ __forceinline__ void copy_across(char* to, const CUtensorMap* map, Mbarrier* full,
                                            int first_column, int row, int matrix) {
#pragma unroll
  for (int column = 0; column < kWidth; column += kBoxColumns) {
    copy_box(to + column * kDepth * 2, map, full, first_column + column, row, matrix);
  }
}

// One thread starts all copies.
template <Product kProduct, int kColumns>
__device__ __forceinline__ void produce(const CUtensorMap* a, const CUtensorMap* b,
                                        const Arguments& arguments, Pipeline<kColumns> pipeline) {
  prefetch(a);
  prefetch(b);
  Tiles<kProduct, kColumns> tiles(arguments);
  Tile tile;
  for (int number = blockIdx.x; tiles.find(number, tile); number += gridDim.x) {
    const int m = tile.m * kRows, n = tile.n * kColumns, expert = static_cast<int>(tile.expert);
    for (int step = 0; step < tile.steps; ++step, pipeline.advance()) {
      const Stage<kColumns> stage = pipeline.current();
      wait(stage.empty, pipeline.parity() ^ 1);
      arrive_expecting(stage.full, kABytes + kBBytes<kColumns>);
      const int k = step * kDepth;
      if constexpr (kOverRows<kProduct>) {
        copy_across<kRows>(stage.a, a, stage.full, m, tile.first_row + k, 0);
        copy_across<kColumns>(stage.b, b, stage.full, n, tile.first_row + k, 0);
      } else {
        copy_box(stage.a, a, stage.full, k, tile.first_row + m, 0);
        if constexpr (kIsForward<kProduct>) {
          copy_box(stage.b, b, stage.full, k, n, expert);
        } else {
          copy_across<kColumns>(stage.b, b, stage.full, n, k, expert);
        }
      }
    }
  }
}

// A warpgroup's 64 rows of the tile: sums as wgmma lays them out.
template <Product kProduct, int kColumns>
__device__ __forceinline__ void multiply(int first_row, int steps, Pipeline<kColumns>& pipeline,
                                         float (&sums)[kColumns / 2]) {
  const bool arrives = threadIdx.x % 32 == 0;
  Mbarrier* previous = nullptr;
  for (float& sum : sums) sum = 0.0f;
  for (int step = 0; step < steps; ++step, pipeline.advance()) {
    const Stage<kColumns> stage = pipeline.current();
    wait(stage.full, pipeline.parity());
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      const uint64_t a = kOverRows<kProduct> ? mn_major(stage.a, first_row, k, kDepth)
                                             : k_major(stage.a, first_row, k);
      const uint64_t b =
          kIsForward<kProduct> ? k_major(stage.b, 0, k) : mn_major(stage.b, 0, k, kDepth);
      wgmma<kOverRows<kProduct>, !kIsForward<kProduct>>(sums, a, b);
    }
    wgmma_commit();
    // The products of the step before are done, so its stage may be filled again.
    wgmma_wait<1>();
    if (step > 0 && arrives) arrive(previous);
    previous = stage.empty;
  }
  wgmma_wait<0>();
  if (steps > 0 && arrives) arrive(previous);
}

// As many blocks as multiprocessors; each takes every gridDim.x-th tile.
template <Product kProduct, int kColumns>
__global__ void __launch_bounds__(kThreads, 1)
    grouped_gemm_kernel(const __grid_constant__ CUtensorMap a,
                        const __grid_constant__ CUtensorMap b,
                        const __grid_constant__ Arguments arguments) {
// Empty on other architectures: has_wgmma() looks.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(OFFSHOOT_CUDA_EMULATION)
  OFFSHOOT_DYNAMIC_SHARED(char, shared);
  Pipeline<kColumns> pipeline(shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages<kColumns>; ++i) {
      init(pipeline.stage(i).full, 1);
      init(pipeline.stage(i).empty, kConsumerWarps);
    }
    fence_init();
  }
  __syncthreads();

  const int warpgroup = threadIdx.x / 128;
  if (warpgroup == 0) {
    shrink_registers<kProducerRegisters>();
    if (threadIdx.x == 0) produce<kProduct, kColumns>(&a, &b, arguments, pipeline);
    return;
  }
  grow_registers<kConsumerRegisters>();
  const int first_row = (warpgroup - 1) * 64;
  Tiles<kProduct, kColumns> tiles(arguments);
  Tile tile;
  for (int number = blockIdx.x; tiles.find(number, tile); number += gridDim.x) {
    float sums[kColumns / 2];
    multiply<kProduct, kColumns>(first_row, tile.steps, pipeline, sums);
    if constexpr (kOverRows<kProduct>) {
      grouped::store_weights<kColumns>(arguments, tile, first_row, sums);
    } else {
      grouped::store_rows<kProduct, kColumns>(arguments, tile, first_row, sums);
    }
  }
#endif
}

int64_t tiles_of(int64_t size, int64_t per_tile) { return (size + per_tile - 1) / per_tile; }

Arguments arguments_of(const GroupedLayer& layer) {
  Arguments arguments{};
  arguments.offsets = layer.rows.offsets;
  arguments.device_num_experts = layer.rows.device_num_experts;
  arguments.num_experts = layer.rows.num_experts;
  return arguments;
}

template <Product kProduct, int kColumns>
void launch_product(const GroupedLayer& layer, const CUtensorMap& a, const CUtensorMap& b,
                    const Arguments& arguments, Stream stream) {
  const int64_t down = kOverRows<kProduct> ? tiles_of(arguments.M, kRows) * layer.rows.num_experts
                                           : tiles_of(layer.rows.capacity, kRows);
  const int64_t blocks = std::min<int64_t>(down * tiles_of(arguments.N, kColumns),
                                           properties(layer.device).multiprocessors);
  launch(grouped_gemm_kernel<kProduct, kColumns>, static_cast<unsigned>(blocks), kThreads,
         kSharedBytes<kColumns>, stream, a, b, arguments);
}

// The width of tiles that leaves least of the last one empty.
bool wide_tiles(int64_t columns) { return tiles_of(columns, 256) * 2 <= tiles_of(columns, 128); }

// The matrix b of all experts, [rows, columns] each, read in boxes along its rows or across.
template <Product kProduct, int kColumns>
CUtensorMap weights_map(const GroupedLayer& layer, const bfloat16* weight) {
  return tensor_map(weight, layer.D, layer.H, layer.rows.num_experts, kBoxColumns,
                    kIsForward<kProduct> ? kColumns : kDepth);
}

template <Product kProduct, int kColumns>
void product_of_rows(const GroupedLayer& layer, const bfloat16* rows, const bfloat16* weight,
                     const Arguments& arguments, Stream stream) {
  launch_product<kProduct, kColumns>(
      layer, tensor_map(rows, arguments.K, layer.rows.capacity, 1, kBoxColumns, kRows),
      weights_map<kProduct, kColumns>(layer, weight), arguments, stream);
}
template <Product kProduct>
void product_of_rows(const GroupedLayer& layer, const bfloat16* rows, const bfloat16* weight,
                     const Arguments& arguments, Stream stream) {
  if (layer.rows.capacity == 0 || layer.rows.num_experts == 0) return;
  if (wide_tiles(arguments.N)) {
    product_of_rows<kProduct, 256>(layer, rows, weight, arguments, stream);
  } else {
    product_of_rows<kProduct, 128>(layer, rows, weight, arguments, stream);
  }
}

template <int kColumns>
void product_over_rows(const GroupedLayer& layer, const bfloat16* dpre, const bfloat16* x,
                       const Arguments& arguments, Stream stream) {
  const int64_t capacity = layer.rows.capacity;
  launch_product<Product::backward_weight, kColumns>(
      layer, tensor_map(dpre, layer.H, capacity, 1, kBoxColumns, kDepth),
      tensor_map(x, layer.D, capacity, 1, kBoxColumns, kDepth), arguments, stream);
}

}  // namespace

bool has_wgmma(int device) {
  if (properties(device).major != 9) return false;
#ifdef OFFSHOOT_CUDA_EMULATION
  return true;
#else
  // The code that this device would run: empty, it has no use for many registers.
  use(device);
  cudaFuncAttributes attributes;
  OFFSHOOT_CUDA_CHECK(
      cudaFuncGetAttributes(&attributes, grouped_gemm_kernel<Product::forward, 256>));
  return attributes.numRegs > kProducerRegisters;
#endif
}

void wgmma_forward(const GroupedLayer& layer, const bfloat16* x, const bfloat16* weight,
                   ConstElements bias, GroupedActivation activation, bfloat16* out, bfloat16* slope,
                   Stream stream) {
  Arguments arguments = arguments_of(layer);
  arguments.N = static_cast<int>(layer.H);
  arguments.K = static_cast<int>(layer.D);
  arguments.bias = bias;
  arguments.out = out;
  arguments.slope = slope;
  if (activation == GroupedActivation::gelu) {
    product_of_rows<Product::forward_gelu>(layer, x, weight, arguments, stream);
  } else {
    product_of_rows<Product::forward>(layer, x, weight, arguments, stream);
  }
}

void wgmma_backward_x(const GroupedLayer& layer, const bfloat16* dpre, const bfloat16* weight,
                      const bfloat16* slope, bfloat16* dx, bool overwrite, Stream stream) {
  Arguments arguments = arguments_of(layer);
  arguments.N = static_cast<int>(layer.D);
  arguments.K = static_cast<int>(layer.H);
  arguments.overwrite = overwrite;
  arguments.slope_beneath = slope;
  arguments.out = dx;
  if (slope != nullptr) {
    product_of_rows<Product::backward_x_gelu>(layer, dpre, weight, arguments, stream);
  } else {
    product_of_rows<Product::backward_x>(layer, dpre, weight, arguments, stream);
  }
}

void wgmma_backward_weight(const GroupedLayer& layer, const bfloat16* dpre, const bfloat16* x,
                           float* dweight, bool overwrite, Stream stream) {
  if (layer.rows.num_experts == 0) return;
  Arguments arguments = arguments_of(layer);
  arguments.M = static_cast<int>(layer.H);
  arguments.N = static_cast<int>(layer.D);
  arguments.overwrite = overwrite;
  arguments.dweight = dweight;
  if (wide_tiles(layer.D)) {
    product_over_rows<256>(layer, dpre, x, arguments, stream);
  } else {
    product_over_rows<128>(layer, dpre, x, arguments, stream);
  }
}

}  // namespace offshoot::cuda
