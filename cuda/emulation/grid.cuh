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

}  // namespace offshoot::emulation

namespace offshoot::cuda {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Stream,
            Arguments&&... arguments) {
  const auto address = reinterpret_cast<const void*>(kernel);
  emulation::check_launch(address, grid, block, shared_bytes);
  // Each thread gets copies of these copies, as on a GPU.
  const std::tuple<Parameters...> copies(
      static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  emulation::submit([=] {
    auto call = [&] { std::apply(kernel, copies); };
    emulation::run_grid(address,
                        {[](void* context) { (*static_cast<decltype(call)*>(context))(); }, &call},
                        grid, block, shared_bytes);
  });
}

}  // namespace offshoot::cuda
