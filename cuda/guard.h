// A number of the device that decides, unseen by the host, whether a launch does anything.
#pragma once

namespace offshoot::cuda {

// At most one is given; where it is not finite, the launch changes nothing.
struct Guard {
  const float* f32 = nullptr;
  const double* f64 = nullptr;
};

}  // namespace offshoot::cuda
