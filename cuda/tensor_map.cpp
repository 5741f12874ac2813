#include "cuda/tensor_map.cuh"

#include <string>

#include "cuda/driver.h"
#include "cuda/error.h"

namespace offshoot::cuda {
namespace {

template <class T>
constexpr CUtensorMapDataType kType = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
template <>
constexpr CUtensorMapDataType kType<float> = CU_TENSOR_MAP_DATA_TYPE_FLOAT32;

}  // namespace

template <class T>
CUtensorMap tensor_map(const T* base, int64_t columns, int64_t rows, int64_t matrices,
                       int box_rows) {
  const auto row_bytes = static_cast<cuuint64_t>(columns) * sizeof(T);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows),
                              static_cast<cuuint64_t>(matrices)};
  const cuuint64_t strides[] = {row_bytes, row_bytes * sizes[1]};
  const cuuint32_t box[] = {kBoxColumns<T>, static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t steps[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result = OFFSHOOT_CUDA_DRIVER(cuTensorMapEncodeTiled)(
      &map, kType<T>, 3, const_cast<T*>(base), sizes, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error("[cuda] cuTensorMapEncodeTiled: got error " + std::to_string(result) + " for " +
                std::to_string(matrices) + " matrices of " + std::to_string(rows) + " x " +
                std::to_string(columns));
  }
  return map;
}

template CUtensorMap tensor_map(const float*, int64_t, int64_t, int64_t, int);
template CUtensorMap tensor_map(const bfloat16*, int64_t, int64_t, int64_t, int);

}  // namespace offshoot::cuda
