// A launch: all blocks of a grid, one after another.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <tuple>
#include <utility>

#include "cuda/emulation/scheduler.h"
#include "cuda/stream.h"

namespace offshoot::emulation {

// Returns when the grid is done. Throws Error, naming the kernel, when a GPU would not launch it.
void run_grid(const void* kernel, const Body& body, dim3 grid, dim3 block, size_t shared_bytes);

// The address of the kernel that runs, or null.
const void* running_kernel();

}  // namespace offshoot::emulation

namespace offshoot::cuda {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Stream,
            Arguments&&... arguments) {
  // Each thread gets copies of these copies, as on a GPU.
  const std::tuple<Parameters...> copies(
      static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  auto call = [&] { std::apply(kernel, copies); };
  emulation::run_grid(reinterpret_cast<const void*>(kernel),
                      {[](void* context) { (*static_cast<decltype(call)*>(context))(); }, &call},
                      grid, block, shared_bytes);
}

}  // namespace offshoot::cuda
