#include "cuda/check.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>

namespace offshoot::cuda {
namespace {

// The path from cuda/ on, wherever the sources lie.
const char* short_path(const char* file) {
  constexpr const char* kFolder = "/cuda/";
  const char* found = nullptr;
  for (const char* at = strstr(file, kFolder); at != nullptr; at = strstr(at + 1, kFolder)) {
    found = at;
  }
  return found == nullptr ? file : found + 1;
}

std::string kernel_name(const void* kernel) {
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess || mangled == nullptr) {
    cudaGetLastError();
    return (std::ostringstream() << "the kernel at " << kernel).str();
  }
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free);
  return name == nullptr ? mangled : name.get();
}

}  // namespace

void fail_call(cudaError_t error, const char* call, const char* file, int line) {
  cudaGetLastError();  // reported here, so not again by the next call that asks
  throw Error("[cuda] " + std::string(call) + ": " + cudaGetErrorString(error) + " (" +
              short_path(file) + ":" + std::to_string(line) + ")");
}

void fail_launch(cudaError_t error, const void* kernel) {
  cudaGetLastError();
  throw Error("[cuda] launch of " + kernel_name(kernel) + ": " + cudaGetErrorString(error));
}

}  // namespace offshoot::cuda
