// The CUDA device that tests run on.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "engine/device.h"

namespace offshoot::testing {

// The first CUDA device; its kernels are emulated in that build.
inline constexpr Device kCuda{Device::Kind::cuda, 0};

// Why there is no CUDA device to test on; empty when there is one.
std::string why_no_cuda();

}  // namespace offshoot::testing

// Begins a test that needs a CUDA device, real or emulated.
#define OFFSHOOT_NEEDS_CUDA()                                                       \
  if (const std::string why_ = ::offshoot::testing::why_no_cuda(); !why_.empty()) { \
    GTEST_SKIP() << why_;                                                           \
  }
