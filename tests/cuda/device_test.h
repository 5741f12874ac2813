// What tests of a CUDA device begin with.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/context.h"
#include "cuda/memory.h"

namespace offshoot::cuda {

// Suites made of it are skipped on a machine without a device; their names end in Cuda.
class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (device_count() == 0) GTEST_SKIP() << "no CUDA device: " << why_no_device();
  }
};

inline constexpr int kDevice = 0;

inline int64_t synchronizations() { return stats().synchronizations; }

// `bytes` of device memory, committed.
class Committed {
 public:
  explicit Committed(int64_t bytes) : space_(bytes, kDevice) {
    EXPECT_EQ(space_.commit(bytes), "");
  }

  AddressSpace& space() { return space_; }
  std::byte* data() const { return space_.data(); }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(space_.data());
  }

 private:
  AddressSpace space_;
};

template <class T>
void upload(void* to, const std::vector<T>& from) {
  copy_to_device(to, from.data(), static_cast<int64_t>(from.size() * sizeof(T)), kDevice);
}

template <class T>
std::vector<T> download(const T* from, int64_t count) {
  std::vector<T> to(static_cast<size_t>(count));
  copy_to_host(to.data(), from, static_cast<int64_t>(sizeof(T)) * count, kDevice);
  return to;
}

}  // namespace offshoot::cuda
