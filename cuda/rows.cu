#include <bit>

#include "cuda/map.cuh"
#include "cuda/primitives.h"
#include "cuda/rows.h"

namespace offshoot::cuda {
namespace {

template <int kPack, class T>
__global__ void __launch_bounds__(kMapThreads)
    gather_rows_kernel(const T* from, const int64_t* index, int64_t elements, int64_t rows,
                       int64_t size, float missing, T* to, bool overwrite) {
  const int64_t first = (int64_t{blockIdx.x} * kMapThreads + threadIdx.x) * kPack;
  if (first >= elements) return;
  const int64_t m = first / size, row = index[m];
  Floats<kPack> values;
  if (row >= 0 && row < rows) {
    values = load_pack<kPack>(from + row * size + (first - m * size), 1);
  } else {
    for (float& value : values.at) value = missing;
  }
  accumulate_pack(to + first, values, overwrite);
}

// What is out of range sorts behind all rows.
__global__ void __launch_bounds__(kMapThreads)
    row_keys_kernel(const int64_t* index, int64_t count, int64_t rows, int32_t* keys,
                    int32_t* order) {
  const int64_t m = int64_t{blockIdx.x} * kMapThreads + threadIdx.x;
  if (m >= count) return;
  const bool inside = index[m] >= 0 && index[m] < rows;
  keys[m] = static_cast<int32_t>(inside ? index[m] : rows);
  order[m] = static_cast<int32_t>(m);
}

// The first of the rising keys that is not below `key`.
__device__ __forceinline__ int64_t lower_bound(const int32_t* keys, int64_t count, int64_t key) {
  int64_t first = 0;
  while (count > 0) {
    const int64_t half = count / 2;
    if (keys[first + half] < key) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}

template <int kPack, class T>
__global__ void __launch_bounds__(kMapThreads)
    scatter_rows_kernel(const T* from, const int32_t* keys, const int32_t* order, int64_t count,
                        int64_t elements, int64_t size, T* to, bool overwrite) {
  const int64_t first = (int64_t{blockIdx.x} * kMapThreads + threadIdx.x) * kPack;
  if (first >= elements) return;
  const int64_t row = first / size, column = first - row * size;
  const int64_t begin = lower_bound(keys, count, row), end = lower_bound(keys, count, row + 1);
  Floats<kPack> sums{};
#pragma unroll 4
  for (int64_t i = begin; i < end; ++i) {
    const Floats<kPack> values = load_pack<kPack>(from + order[i] * size + column, 1);
#pragma unroll
    for (int k = 0; k < kPack; ++k) sums.at[k] += values.at[k];
  }
  accumulate_pack(to + first, sums, overwrite);
}

// Whole packs of 16 bytes, or single elements: calls f with the number as a constant.
template <class T, class F>
void with_pack(int64_t size, const T* from, const T* to, F&& f) {
  constexpr int kPack = 16 / static_cast<int>(sizeof(T));
  Walk row;
  row.add_axis(size, {1, 1});
  if (packs(row, 0, kPack, to, sizeof(T)) && packs(row, 1, kPack, from, sizeof(T))) {
    f(std::integral_constant<int, kPack>());
  } else {
    f(std::integral_constant<int, 1>());
  }
}

// Scratch is four arrays of `count` and what sorting needs, from the first aligned byte on.
constexpr int64_t kAligned = 256;
int64_t aligned(int64_t bytes) { return (bytes + kAligned - 1) / kAligned * kAligned; }
int64_t array_bytes(int64_t count) { return aligned(count * int64_t{sizeof(int32_t)}); }

}  // namespace

template <class T>
void gather_rows(const T* from, const int64_t* index, int64_t count, int64_t rows, int64_t size,
                 float missing, T* to, bool overwrite, Stream stream) {
  const int64_t elements = count * size;
  if (elements == 0) return;
  with_pack(size, from, to, [&]<int kPack>(std::integral_constant<int, kPack>) {
    launch(gather_rows_kernel<kPack, T>, blocks_for(elements, kMapThreads * kPack), kMapThreads, 0,
           stream, from, index, elements, rows, size, missing, to, overwrite);
  });
}

int64_t scatter_rows_bytes(int64_t count) {
  return kAligned + 4 * array_bytes(count) + static_cast<int64_t>(sort_pairs_bytes(count));
}

template <class T>
void scatter_rows(const T* from, const int64_t* index, int64_t count, int64_t rows, int64_t size,
                  void* scratch, T* to, bool overwrite, Stream stream) {
  const int64_t elements = rows * size;
  if (elements == 0) return;
  const auto first = aligned(reinterpret_cast<int64_t>(scratch));
  const auto array = [&](int64_t i) {
    return reinterpret_cast<int32_t*>(first + i * array_bytes(count));
  };
  int32_t *const keys = array(0), *const order = array(1);
  int32_t *const sorted_keys = array(2), *const sorted_order = array(3);
  if (count > 0) {
    launch(row_keys_kernel, blocks_for(count, kMapThreads), kMapThreads, 0, stream, index, count,
           rows, keys, order);
    sort_pairs(keys, order, count, 0, std::bit_width(static_cast<uint64_t>(rows)), sorted_keys,
               sorted_order, array(4), stream);
  }
  with_pack(size, from, to, [&]<int kPack>(std::integral_constant<int, kPack>) {
    launch(scatter_rows_kernel<kPack, T>, blocks_for(elements, kMapThreads * kPack), kMapThreads, 0,
           stream, from, sorted_keys, sorted_order, count, elements, size, to, overwrite);
  });
}

#define OFFSHOOT_ROWS(T)                                                                           \
  template void gather_rows(const T*, const int64_t*, int64_t, int64_t, int64_t, float, T*, bool,  \
                            Stream);                                                               \
  template void scatter_rows(const T*, const int64_t*, int64_t, int64_t, int64_t, void*, T*, bool, \
                             Stream);
OFFSHOOT_ROWS(float)
OFFSHOOT_ROWS(bfloat16)
#undef OFFSHOOT_ROWS

}  // namespace offshoot::cuda
