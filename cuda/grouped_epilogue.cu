#include "cuda/column_sums.cuh"
#include "cuda/element_access.cuh"
#include "cuda/gelu.cuh"
#include "cuda/grouped_epilogue.h"

namespace offshoot::cuda {
namespace {

constexpr int64_t kMostThreads = 256;

// What kernels read of ExpertRows.
struct Groups {
  const int64_t* offsets;
  const int64_t* device_num_experts;
  int64_t most_experts;

  __device__ int64_t num_experts() const {
    return device_num_experts == nullptr ? most_experts : *device_num_experts;
  }
  // The expert whose group has the row, or -1.
  __device__ int64_t expert_of(int64_t row) const {
    int64_t low = 0, high = num_experts();  // offsets[low] <= row < offsets[high]
    if (high == 0 || row < offsets[0] || row >= offsets[high]) return -1;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (offsets[middle] <= row ? low : high) = middle;
    }
    return low;
  }
};

Groups groups_of(const ExpertRows& rows) {
  return {rows.offsets, rows.device_num_experts, rows.num_experts};
}

// Calls f(expert, packs) for this thread's part of a row, [first, first + kCount) at a time. One
// block a row.
template <int kCount, class F>
__device__ __forceinline__ void each_pack(const Groups& groups, int64_t width, F f) {
  const int64_t row = blockIdx.x, expert = groups.expert_of(row);
  if (expert < 0) return;
  for (int64_t column = threadIdx.x * kCount; column < width; column += blockDim.x * kCount) {
    f(expert * width + column, row * width + column);
  }
}

template <class T, int kCount>
__global__ void add_bias_kernel(Groups groups, int64_t width, ConstElements bias, T* out) {
  using Packed = Pack<T, kCount>;
  each_pack<kCount>(groups, width, [=](int64_t of_expert, int64_t i) {
    Packed values = *reinterpret_cast<const Packed*>(out + i);
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      store(&values.at[k], load(&values.at[k]) + load(bias, of_expert + k));
    }
    *reinterpret_cast<Packed*>(out + i) = values;
  });
}

template <class T, int kCount>
__global__ void bias_gelu_kernel(Groups groups, int64_t width, ConstElements bias, T* out,
                                 T* slope) {
  using Packed = Pack<T, kCount>;
  each_pack<kCount>(groups, width, [=](int64_t of_expert, int64_t i) {
    Packed values = *reinterpret_cast<const Packed*>(out + i), slopes;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const float shift = bias.data == nullptr ? 0.0f : load(bias, of_expert + k);
      const Gelu result = gelu(load(&values.at[k]) + shift);
      store(&values.at[k], result.value);
      store(&slopes.at[k], result.slope);
    }
    *reinterpret_cast<Packed*>(out + i) = values;
    if (slope != nullptr) *reinterpret_cast<Packed*>(slope + i) = slopes;
  });
}

template <class T, int kCount>
__global__ void multiply_kernel(Groups groups, int64_t width, const T* x, const T* slope, T* out) {
  using Packed = Pack<T, kCount>;
  each_pack<kCount>(groups, width, [=](int64_t, int64_t i) {
    Packed values = *reinterpret_cast<const Packed*>(x + i);
    const Packed slopes = *reinterpret_cast<const Packed*>(slope + i);
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      store(&values.at[k], load(&values.at[k]) * load(&slopes.at[k]));
    }
    *reinterpret_cast<Packed*>(out + i) = values;
  });
}

// A block adds up kSumColumns columns of one expert.
template <class T>
__global__ void __launch_bounds__(kSumThreads)
    column_sums_kernel(Groups groups, int64_t width, int64_t blocks_across, const T* x, float* sums,
                       bool overwrite) {
  const int64_t expert = blockIdx.x / blocks_across;
  const int64_t first_column = blockIdx.x % blocks_across * kSumColumns;
  if (expert >= groups.num_experts()) return;
  const float sum =
      column_sum(x, width, groups.offsets[expert], groups.offsets[expert + 1], first_column, width);
  const int64_t column = first_column + threadIdx.x;
  if (threadIdx.x < kSumColumns && column < width) {
    accumulate(sums + expert * width + column, sum, overwrite);
  }
}

bool is_aligned(const void* at, size_t bytes) {
  return reinterpret_cast<uintptr_t>(at) % bytes == 0;
}

// Elements a thread takes at once: four where rows and addresses allow it.
template <class T, class... Pointers>
bool in_fours(int64_t width, Pointers... pointers) {
  return width % 4 == 0 && (is_aligned(pointers, 4 * sizeof(T)) && ...);
}

// One block for each row that there may be.
template <class... Parameters, class... Arguments>
void launch_rows(void (*kernel)(Parameters...), const ExpertRows& rows, int64_t width,
                 int per_thread, Stream stream, Arguments... arguments) {
  if (rows.capacity == 0 || rows.num_experts == 0 || width == 0) return;
  launch(kernel, static_cast<unsigned>(rows.capacity),
         row_threads((width + per_thread - 1) / per_thread, kMostThreads), 0, stream,
         groups_of(rows), width, arguments...);
}

}  // namespace

template <class T>
void grouped_add_bias(const ExpertRows& rows, int64_t width, ConstElements bias, T* out,
                      Stream stream) {
  if (in_fours<T>(width, out)) {
    launch_rows(add_bias_kernel<T, 4>, rows, width, 4, stream, bias, out);
  } else {
    launch_rows(add_bias_kernel<T, 1>, rows, width, 1, stream, bias, out);
  }
}

template <class T>
void grouped_bias_gelu(const ExpertRows& rows, int64_t width, ConstElements bias, T* out, T* slope,
                       Stream stream) {
  if (in_fours<T>(width, out, slope)) {
    launch_rows(bias_gelu_kernel<T, 4>, rows, width, 4, stream, bias, out, slope);
  } else {
    launch_rows(bias_gelu_kernel<T, 1>, rows, width, 1, stream, bias, out, slope);
  }
}

template <class T>
void grouped_multiply(const ExpertRows& rows, int64_t width, const T* x, const T* slope, T* out,
                      Stream stream) {
  if (in_fours<T>(width, x, slope, out)) {
    launch_rows(multiply_kernel<T, 4>, rows, width, 4, stream, x, slope, out);
  } else {
    launch_rows(multiply_kernel<T, 1>, rows, width, 1, stream, x, slope, out);
  }
}

template <class T>
void grouped_column_sums(const ExpertRows& rows, int64_t width, const T* x, float* sums,
                         bool overwrite, Stream stream) {
  if (rows.num_experts == 0 || width == 0) return;
  const int64_t across = blocks_for(width, kSumColumns);
  launch(column_sums_kernel<T>, static_cast<unsigned>(rows.num_experts * across), kSumThreads, 0,
         stream, groups_of(rows), width, across, x, sums, overwrite);
}

template void grouped_add_bias(const ExpertRows&, int64_t, ConstElements, float*, Stream);
template void grouped_add_bias(const ExpertRows&, int64_t, ConstElements, bfloat16*, Stream);
template void grouped_bias_gelu(const ExpertRows&, int64_t, ConstElements, float*, float*, Stream);
template void grouped_bias_gelu(const ExpertRows&, int64_t, ConstElements, bfloat16*, bfloat16*,
                                Stream);
template void grouped_multiply(const ExpertRows&, int64_t, const float*, const float*, float*,
                               Stream);
template void grouped_multiply(const ExpertRows&, int64_t, const bfloat16*, const bfloat16*,
                               bfloat16*, Stream);
template void grouped_column_sums(const ExpertRows&, int64_t, const float*, float*, bool, Stream);
template void grouped_column_sums(const ExpertRows&, int64_t, const bfloat16*, float*, bool,
                                  Stream);

}  // namespace offshoot::cuda
