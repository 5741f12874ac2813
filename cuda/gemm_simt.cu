#include "cuda/gemm_simt.h"
#include "cuda/kernel_utils.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;   // rows and columns of c that a block computes
constexpr int kDepth = 16;  // of k in shared memory at a time
constexpr int kPatch = 4;   // rows and columns of c that a thread computes

// A matrix to read: element (i, j) is data[i * row_stride + j * column_stride].
template <class T>
struct Strided {
  const T* data;
  int64_t row_stride, column_stride, batch_stride;
};

struct Sizes {
  int64_t M, N, K;
  int64_t ldc, stride_c;
  int64_t tiles_m, tiles_n;
};

// tile[j][i] = x(first_row + i, first_column + j), zero outside; neighbouring threads read
// neighbouring memory whichever way x lies.
template <class T>
__device__ __forceinline__ void load_tile(const Strided<T>& x, int64_t rows, int64_t columns,
                                          int64_t first_row, int64_t first_column,
                                          float (&tile)[kDepth][kTile + 1]) {
  const bool by_row = x.column_stride == 1;
  for (int at = threadIdx.x; at < kTile * kDepth; at += kThreads) {
    const int i = by_row ? at / kDepth : at % kTile, j = by_row ? at % kDepth : at / kTile;
    const int64_t row = first_row + i, column = first_column + j;
    const bool inside = row < rows && column < columns;
    tile[j][i] = inside ? load(x.data + row * x.row_stride + column * x.column_stride) : 0.0f;
  }
}

// A block computes a tile of c; b is given transposed, so that both operands are loaded alike.
template <class T, class C>
__global__ void __launch_bounds__(kThreads)
    simt_gemm_kernel(Strided<T> a, Strided<T> b_transposed, C* c, Sizes sizes, bool overwrite) {
  __shared__ float a_tile[kDepth][kTile + 1], b_tile[kDepth][kTile + 1];
  const int64_t tiles = sizes.tiles_m * sizes.tiles_n;
  const int64_t batch = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const int64_t first_m = tile / sizes.tiles_n * kTile, first_n = tile % sizes.tiles_n * kTile;
  const int m0 = threadIdx.x / (kTile / kPatch) * kPatch, n0 = threadIdx.x % (kTile / kPatch);
  a.data += batch * a.batch_stride;
  b_transposed.data += batch * b_transposed.batch_stride;

  float sums[kPatch][kPatch] = {};
  for (int64_t k = 0; k < sizes.K; k += kDepth) {
    load_tile(a, sizes.M, sizes.K, first_m, k, a_tile);
    load_tile(b_transposed, sizes.N, sizes.K, first_n, k, b_tile);
    __syncthreads();
    for (int depth = 0; depth < kDepth; ++depth) {
      // Columns of a thread lie apart, so that its warp reads b without bank conflicts.
#pragma unroll
      for (int i = 0; i < kPatch; ++i) {
#pragma unroll
        for (int j = 0; j < kPatch; ++j) {
          sums[i][j] += a_tile[depth][m0 + i] * b_tile[depth][n0 + j * (kTile / kPatch)];
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kPatch; ++i) {
#pragma unroll
    for (int j = 0; j < kPatch; ++j) {
      const int64_t m = first_m + m0 + i, n = first_n + n0 + j * (kTile / kPatch);
      if (m >= sizes.M || n >= sizes.N) continue;
      accumulate(c + batch * sizes.stride_c + m * sizes.ldc + n, sums[i][j], overwrite);
    }
  }
}

// x stored with `ld` elements from row to row, or its transpose.
template <class T>
Strided<T> strided(ConstElements x, int64_t ld, bool transpose, int64_t batch_stride) {
  const auto data = static_cast<const T*>(x.data);
  return transpose ? Strided<T>{data, 1, ld, batch_stride} : Strided<T>{data, ld, 1, batch_stride};
}

template <class T, class C>
void launch_product(const Gemm& g, Stream stream) {
  const int64_t tiles_m = (g.M + kTile - 1) / kTile, tiles_n = (g.N + kTile - 1) / kTile;
  const Sizes sizes{g.M, g.N, g.K, g.ldc, g.stride_c, tiles_m, tiles_n};
  launch(simt_gemm_kernel<T, C>, static_cast<unsigned>(tiles_m * tiles_n * g.batch), kThreads, 0,
         stream, strided<T>(g.a, g.lda, g.transpose_a, g.stride_a),
         strided<T>(g.b, g.ldb, !g.transpose_b, g.stride_b), static_cast<C*>(g.c.data), sizes,
         g.overwrite);
}

}  // namespace

void simt_gemm(const Gemm& product, Stream stream) {
  if (product.M == 0 || product.N == 0 || product.batch == 0) return;
  if (product.a.type == ElementType::f32) {
    launch_product<float, float>(product, stream);
  } else if (product.c.type == ElementType::f32) {
    launch_product<bfloat16, float>(product, stream);
  } else {
    launch_product<bfloat16, bfloat16>(product, stream);
  }
}

}  // namespace offshoot::cuda
