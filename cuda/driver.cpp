#include "cuda/driver.h"

#include "cuda/check.h"

namespace offshoot::cuda {

void* driver_function(const char* name) {
  constexpr unsigned kVersion = 12000;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  OFFSHOOT_CUDA_CHECK(
      cudaGetDriverEntryPointByVersion(name, &function, kVersion, cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    throw Error("[cuda] the driver has no " + std::string(name) + ", expected that of CUDA 12");
  }
  return function;
}

}  // namespace offshoot::cuda
