#include "cuda/layout.h"
#include "cuda/map.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // of the block's threads

struct Same {
  __device__ float operator()(float value) const { return value; }
};

// One block a tile of one matrix, so that both sides are read and written along rows.
template <class T>
__global__ void __launch_bounds__(kTile* kTileRows)
    transpose_kernel(const T* from, int64_t rows, int64_t columns, T* to, bool overwrite) {
  __shared__ float tile[kTile][kTile + 1];  // one more, so that a column lies in 32 banks
  const int64_t tiles_across = (columns + kTile - 1) / kTile,
                tiles_down = (rows + kTile - 1) / kTile;
  const int64_t matrix = blockIdx.x / (tiles_across * tiles_down);
  const int64_t in_matrix = blockIdx.x - matrix * tiles_across * tiles_down;
  const int64_t first_row = in_matrix / tiles_across * kTile;
  const int64_t first_column = in_matrix % tiles_across * kTile;
  from += matrix * rows * columns;
  to += matrix * rows * columns;
  for (int r = threadIdx.y; r < kTile; r += kTileRows) {
    const int64_t row = first_row + r, column = first_column + threadIdx.x;
    if (row < rows && column < columns) tile[r][threadIdx.x] = load(from + row * columns + column);
  }
  __syncthreads();
  for (int c = threadIdx.y; c < kTile; c += kTileRows) {
    const int64_t column = first_column + c, row = first_row + threadIdx.x;
    if (row < rows && column < columns) {
      accumulate(to + column * rows + row, tile[threadIdx.x][c], overwrite);
    }
  }
}

}  // namespace

template <class T>
void move_elements(const Walk& walk, const T* from, T* to, bool overwrite, Stream stream) {
  map(walk, Same(), to, overwrite, stream, from);
}

template <class T>
void transpose_matrices(const T* from, int64_t count, int64_t rows, int64_t columns, T* to,
                        bool overwrite, Stream stream) {
  const int64_t tiles = count * blocks_for(rows, kTile) * blocks_for(columns, kTile);
  if (tiles == 0) return;
  launch(transpose_kernel<T>, static_cast<unsigned>(tiles), dim3(kTile, kTileRows), 0, stream, from,
         rows, columns, to, overwrite);
}

#define OFFSHOOT_LAYOUT(T)                                              \
  template void move_elements(const Walk&, const T*, T*, bool, Stream); \
  template void transpose_matrices(const T*, int64_t, int64_t, int64_t, T*, bool, Stream);
OFFSHOOT_LAYOUT(float)
OFFSHOOT_LAYOUT(bfloat16)
#undef OFFSHOOT_LAYOUT

}  // namespace offshoot::cuda
