#include <algorithm>

#include "cuda/context.h"
#include "cuda/grouped_gemm_hopper.h"
#include "cuda/grouped_store.cuh"
#include "cuda/grouped_tiles.cuh"
#include "cuda/hopper.cuh"

namespace offshoot::cuda {
namespace {

using grouped::Arguments;
using grouped::InputMaps;
using grouped::Kind;
using grouped::kSharedBytes;
using grouped::OutputMaps;
using grouped::Pipeline;
using grouped::Product;
using grouped::Stage;
using grouped::Tile;
using grouped::Tiles;

constexpr int kThreads = 384;  // a producer's warpgroup comes first

// 65536 registers of a block, in warpgroups. Other architectures have no use for these.
[[maybe_unused]] constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;

// Boxes of as many rows as a stage is deep, side by side in the matrix and one behind the other in
// shared memory.
template <class K, int kWidth>
__device__ __forceinline__ void copy_across(char* to, const CUtensorMap* map, Mbarrier* full,
                                            int first_column, int row, int matrix) {
#pragma unroll
  for (int column = 0; column < kWidth; column += kBoxColumns<bfloat16>) {
    copy_box(to + column * K::kDepth * 2, map, full, first_column + column, row, matrix);
  }
}

// One thread starts all copies.
template <class K>
__device__ __forceinline__ void produce(const InputMaps& maps, const Arguments& arguments,
                                        Pipeline<K> pipeline) {
  const CUtensorMap *const a = &maps.a, *const b = &maps.b;
  prefetch(a);
  prefetch(b);
  Tiles<K> tiles(arguments);
  Tile tile;
  for (int number = blockIdx.x; tiles.find(number, tile); number += gridDim.x) {
    const int m = tile.m * K::kRows, n = tile.n * K::kColumns;
    const int expert = static_cast<int>(tile.expert);
    for (int step = 0; step < tile.steps; ++step, pipeline.advance()) {
      const Stage stage = pipeline.current();
      wait(stage.empty, pipeline.parity() ^ 1);
      arrive_expecting(stage.full, K::kABytes + K::kBBytes);
      const int k = step * K::kDepth;
      if constexpr (K::kOverRows) {
        copy_across<K, K::kRows>(stage.a, a, stage.full, m, tile.first_row + k, 0);
        copy_across<K, K::kColumns>(stage.b, b, stage.full, n, tile.first_row + k, 0);
      } else {
        copy_box(stage.a, a, stage.full, k, tile.first_row + m, 0);
        if constexpr (K::kForward) {
          copy_box(stage.b, b, stage.full, k, n, expert);
        } else {
          copy_across<K, K::kColumns>(stage.b, b, stage.full, n, k, expert);
        }
      }
    }
  }
}

// A warpgroup's 64 rows of a tile: sums as wgmma lays them out.
template <class K>
__device__ __forceinline__ void multiply(int first_row, int steps, Pipeline<K>& pipeline,
                                         float (&sums)[K::kColumns / 2]) {
  const bool arrives = threadIdx.x % 32 == 0;
  Mbarrier* previous = nullptr;
  for (float& sum : sums) sum = 0.0f;
  for (int step = 0; step < steps; ++step, pipeline.advance()) {
    const Stage stage = pipeline.current();
    wait(stage.full, pipeline.parity());
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < K::kDepth; k += 16) {
      const uint64_t a = K::kOverRows ? mn_major(stage.a, first_row, k, K::kDepth)
                                      : k_major(stage.a, first_row, k);
      const uint64_t b = K::kForward ? k_major(stage.b, 0, k) : mn_major(stage.b, 0, k, K::kDepth);
      wgmma<K::kOverRows, !K::kForward>(sums, a, b);
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

// A warpgroup's part of the block's tiles.
template <class K>
__device__ __forceinline__ void consume(int warpgroup, const OutputMaps& maps,
                                        const Arguments& arguments, Pipeline<K> pipeline) {
  const int warp = threadIdx.x / 32 % 4, first_row = 64 * warpgroup;
  grouped::Boxes boxes(pipeline.output(4 * warpgroup + warp));
  Tiles<K> tiles(arguments);
  Tile tile;
  for (int number = blockIdx.x; tiles.find(number, tile); number += gridDim.x) {
    float sums[K::kColumns / 2];
    const int row = tile.m * K::kRows + first_row + warp * grouped::kBoxRows;
    if constexpr (K::kOverRows) {
      multiply<K>(first_row, tile.steps, pipeline, sums);
      grouped::store_weights<K>(arguments, maps, tile, row, sums, boxes);
    } else {
      const grouped::Fetched<K> fetched(arguments, tile, tile.first_row + row);
      multiply<K>(first_row, tile.steps, pipeline, sums);
      grouped::store_rows<K>(arguments, maps, tile, tile.first_row + row, fetched, sums, boxes);
    }
  }
  boxes.finish();
}

// As many blocks as multiprocessors; each takes every gridDim.x-th tile.
template <class K>
__global__ void __launch_bounds__(kThreads, 1)
    grouped_gemm_kernel(const __grid_constant__ InputMaps inputs,
                        const __grid_constant__ OutputMaps outputs,
                        const __grid_constant__ Arguments arguments) {
// Empty on other architectures: has_wgmma() looks.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(OFFSHOOT_CUDA_EMULATION)
  OFFSHOOT_DYNAMIC_SHARED(char, shared);
  Pipeline<K> pipeline(shared);
  if (threadIdx.x == 0) pipeline.init_barriers();
  __syncthreads();

  const int warpgroup = threadIdx.x / 128;
  if (warpgroup == 0) {
    shrink_registers<kProducerRegisters>();
    if (threadIdx.x == 0) produce<K>(inputs, arguments, pipeline);
    return;
  }
  grow_registers<kConsumerRegisters>();
  consume<K>(warpgroup - 1, outputs, arguments, pipeline);
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

template <class K>
void launch_product(const GroupedLayer& layer, const InputMaps& inputs, const OutputMaps& outputs,
                    const Arguments& arguments, Stream stream) {
  static_assert(kSharedBytes<K> <= 227 * 1024);
  const int64_t down = K::kOverRows ? tiles_of(arguments.M, K::kRows) * layer.rows.num_experts
                                    : tiles_of(layer.rows.capacity, K::kRows);
  const int64_t blocks = std::min<int64_t>(down * tiles_of(arguments.N, K::kColumns),
                                           properties(layer.device).multiprocessors);
  launch(grouped_gemm_kernel<K>, static_cast<unsigned>(blocks), kThreads, kSharedBytes<K>, stream,
         inputs, outputs, arguments);
}

// Calls f.operator()<Kind>() with the width of tiles that leaves least of the last one empty.
template <Product kProduct, class F>
void with_kind(int64_t columns, F f) {
  if (tiles_of(columns, 256) * 2 <= tiles_of(columns, 128)) {
    f.template operator()<Kind<kProduct, 256>>();
  } else {
    f.template operator()<Kind<kProduct, 128>>();
  }
}

template <Product kProduct>
void product_of_rows(const GroupedLayer& layer, const bfloat16* rows, const bfloat16* weight,
                     bfloat16* out, bfloat16* slope, Arguments arguments, Stream stream) {
  const int64_t capacity = layer.rows.capacity;
  if (capacity == 0 || layer.rows.num_experts == 0) return;
  arguments.out = out;
  arguments.wants_slope = slope != nullptr;
  const auto map = [&](const bfloat16* to) {
    return tensor_map(to, arguments.N, capacity, 1, grouped::kBoxRows);
  };
  const OutputMaps outputs{map(out), map(slope != nullptr ? slope : out)};
  with_kind<kProduct>(arguments.N, [&]<class K>() {
    const InputMaps inputs{tensor_map(rows, arguments.K, capacity, 1, K::kRows),
                           tensor_map(weight, layer.D, layer.H, layer.rows.num_experts,
                                      K::kForward ? K::kColumns : K::kDepth)};
    launch_product<K>(layer, inputs, outputs, arguments, stream);
  });
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
      cudaFuncGetAttributes(&attributes, grouped_gemm_kernel<Kind<Product::forward, 256>>));
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
  if (activation == GroupedActivation::gelu) {
    product_of_rows<Product::forward_gelu>(layer, x, weight, out, slope, arguments, stream);
  } else {
    product_of_rows<Product::forward>(layer, x, weight, out, nullptr, arguments, stream);
  }
}

void wgmma_backward_x(const GroupedLayer& layer, const bfloat16* dpre, const bfloat16* weight,
                      const bfloat16* slope, bfloat16* dx, bool overwrite, Stream stream) {
  Arguments arguments = arguments_of(layer);
  arguments.N = static_cast<int>(layer.D);
  arguments.K = static_cast<int>(layer.H);
  arguments.overwrite = overwrite;
  arguments.slope_beneath = slope;
  if (slope != nullptr) {
    product_of_rows<Product::backward_x_gelu>(layer, dpre, weight, dx, nullptr, arguments, stream);
  } else {
    product_of_rows<Product::backward_x>(layer, dpre, weight, dx, nullptr, arguments, stream);
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
  const int64_t capacity = layer.rows.capacity;
  const CUtensorMap map =
      tensor_map(dweight, layer.D, layer.H, layer.rows.num_experts, grouped::kBoxRows);
  with_kind<Product::backward_weight>(layer.D, [&]<class K>() {
    const InputMaps inputs{tensor_map(dpre, layer.H, capacity, 1, K::kDepth),
                           tensor_map(x, layer.D, capacity, 1, K::kDepth)};
    launch_product<K>(layer, inputs, {map, map}, arguments, stream);
  });
}

}  // namespace offshoot::cuda
