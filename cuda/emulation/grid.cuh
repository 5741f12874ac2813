// A launch: all blocks of a grid, one after another.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <tuple>
#include <utility>

#include "cuda/emulation/capture.h"
#include "cuda/emulation/scheduler.h"
#include "cuda/stream.h"

namespace offshoot::emulation {

// Throws Error, naming the kernel, when a GPU would not launch it.
void check_launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes);

// Returns when the grid, one that can be launched, is done.
void run_grid(const void* kernel, const Body& body, dim3 grid, dim3 block, size_t shared_bytes);

// The address of the kernel that runs, or null.
const void* running_kernel();

// A kernel and its arguments. Each thread gets copies of them, as on a GPU.
template <class... Parameters>
struct Call {
  void (*kernel)(Parameters...);
  std::tuple<Parameters...> arguments;

  static void run(void* call) {
    static_cast<Call*>(call)->run_with(std::index_sequence_for<Parameters...>());
  }
  template <size_t... kIndices>
  void run_with(std::index_sequence<kIndices...>) {
    kernel(std::get<kIndices>(arguments)...);
  }
};

}  // namespace offshoot::emulation

namespace offshoot::cuda {

inline void load_kernel(const void*) {}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            Stream stream, Arguments&&... arguments) {
  const auto address = reinterpret_cast<const void*>(kernel);
  emulation::check_launch(address, grid, block, shared_bytes);
  emulation::Call<Parameters...> call{
      kernel, {static_cast<Parameters>(std::forward<Arguments>(arguments))...}};
  emulation::submit(stream, [=]() mutable {
    emulation::run_grid(address, {call.run, &call}, grid, block, shared_bytes);
  });
}

}  // namespace offshoot::cuda
