// The words of CUDA C++ that the toolkit's headers do not give to a host compiler.
#pragma once

#include <cuda_runtime.h>

#include "cuda/emulation/engine.h"

namespace offshoot::emulation {

// Where the running thread is.
struct Position {
  uint3 thread, block;
  dim3 block_shape, grid_shape;
};
extern Position position;

// Whether a block has reached a declaration of static shared memory since it was last filled.
// Relaxed, so that TSan does not mind.
extern bool static_shared_touched;
inline void touch_static_shared() {
  __atomic_store_n(&static_shared_touched, true, __ATOMIC_RELAXED);
}

}  // namespace offshoot::emulation

inline constexpr const uint3& threadIdx = offshoot::emulation::position.thread;
inline constexpr const uint3& blockIdx = offshoot::emulation::position.block;
inline constexpr const dim3& blockDim = offshoot::emulation::position.block_shape;
inline constexpr const dim3& gridDim = offshoot::emulation::position.grid_shape;
inline constexpr int warpSize = offshoot::emulation::kWarpSize;

// Static shared memory: blocks run one after another, so one copy will do. The attribute gathers
// all of it in sections of its own, templates' too (unlike `section`), which each block finds
// filled with 0xFF.
#undef __shared__
#define __shared__                              \
  ::offshoot::emulation::touch_static_shared(); \
  static __attribute__((noinit))

#undef __launch_bounds__
#define __launch_bounds__(...)

#define OFFSHOOT_DYNAMIC_SHARED(T, name) \
  T* name = reinterpret_cast<T*>(::offshoot::emulation::dynamic_shared())
