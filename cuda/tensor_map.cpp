#include "cuda/tensor_map.cuh"

#include <string>

#include "cuda/driver.h"
#include "cuda/error.h"

namespace offshoot::cuda {

CUtensorMap tensor_map(const bfloat16* base, int64_t columns, int64_t rows, int64_t matrices,
                       int box_columns, int box_rows) {
  const auto row_bytes = static_cast<cuuint64_t>(columns) * sizeof(bfloat16);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows),
                              static_cast<cuuint64_t>(matrices)};
  const cuuint64_t strides[] = {row_bytes, row_bytes * sizes[1]};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows),
                            1};
  const cuuint32_t steps[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result = OFFSHOOT_CUDA_DRIVER(cuTensorMapEncodeTiled)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<bfloat16*>(base), sizes, strides, box,
      steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error("[cuda] cuTensorMapEncodeTiled: got error " + std::to_string(result) + " for " +
                std::to_string(matrices) + " matrices of " + std::to_string(rows) + " x " +
                std::to_string(columns));
  }
  return map;
}

}  // namespace offshoot::cuda
