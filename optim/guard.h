// Guards: a scalar, most often the loss, that must be finite for a step to change anything. Nobody
// waits for one that is on a device: kernels look at it there.
#pragma once

#include <cmath>
#include <string_view>

#include "cuda/guard.h"
#include "engine/error.h"
#include "engine/tensor.h"

namespace offshoot {

// Throws Error when there is a guard that is no scalar of f32 or f64 on `device`.
inline void check_guard(std::string_view where, const Tensor& guard, Device device) {
  if (!guard.defined()) return;
  if (guard.size() != 1 || !is_float(guard.dtype()) || guard.device() != device) {
    fail(where, "guard: got {} {} on {}, expected one number of f32 or f64 on {}",
         to_string(guard.dtype()), to_string(guard.shape()), to_string(guard.device()),
         to_string(device));
  }
}

// Whether a guard that lies on the CPU, or none, lets a step happen.
inline bool allows(const Tensor& guard) { return !guard.defined() || std::isfinite(guard.item()); }

// What kernels take for a guard on their device, or for none.
inline cuda::Guard device_guard(const Tensor& guard) {
  cuda::Guard pointers;
  if (!guard.defined()) return pointers;
  if (guard.dtype() == DType::f32) {
    pointers.f32 = guard.device_data<float>();
  } else {
    pointers.f64 = guard.device_data<double>();
  }
  return pointers;
}

}  // namespace offshoot
