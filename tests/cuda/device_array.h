// Arrays in device memory, for tests of launchers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/bfloat16.h"
#include "tests/cuda/device_test.h"

namespace offshoot::testing {

using offshoot::to_float;
inline float to_float(float x) { return x; }
template <class T>
T rounded(float x) {
  if constexpr (std::is_same_v<T, float>) return x;
  if constexpr (std::is_same_v<T, bfloat16>) return to_bfloat16(x);
}

// Elements in device memory, every byte 0xff at first: NaN. Behind them lie guard bytes, which
// values() checks.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(int64_t size)
      : size_(size), space_(size * int64_t{sizeof(T)} + kGuardBytes, cuda::kDevice) {
    EXPECT_EQ(space_.commit(bytes() + kGuardBytes), "");
    cuda::fill_bytes(space_.data(), 0xff, bytes() + kGuardBytes, cuda::kDevice);
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(std::ssize(values)) {
    cuda::copy_to_device(space_.data(), values.data(), bytes(), cuda::kDevice);
  }

  T* data() const { return reinterpret_cast<T*>(space_.data()); }
  int64_t size() const { return size_; }

  std::vector<T> values() const {
    std::vector<std::byte> all(static_cast<size_t>(bytes() + kGuardBytes));
    cuda::copy_to_host(all.data(), space_.data(), std::ssize(all), cuda::kDevice);
    const auto guard = all.begin() + bytes();
    EXPECT_TRUE(std::all_of(guard, all.end(), [](std::byte b) { return b == std::byte{0xff}; }))
        << "something was written behind the array";
    std::vector<T> out(static_cast<size_t>(size_));
    if (size_ > 0) std::memcpy(out.data(), all.data(), static_cast<size_t>(bytes()));
    return out;
  }

 private:
  static constexpr int64_t kGuardBytes = 256;

  int64_t bytes() const { return size_ * int64_t{sizeof(T)}; }

  int64_t size_;
  cuda::AddressSpace space_;
};

template <class T>
std::vector<T> random_values(int64_t count, std::mt19937& generator, float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = rounded<T>(normal(generator));
  return values;
}

template <class T>
std::vector<double> doubles(const std::vector<T>& values) {
  std::vector<double> out;
  for (const T value : values) out.push_back(to_float(value));
  return out;
}

// max |a - b| / max |b|; infinite where a is NaN.
template <class T>
double relative_error(const std::vector<T>& got, const std::vector<double>& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double difference = 0, scale = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double value = to_float(got[i]);
    if (std::isnan(value)) return HUGE_VAL;
    difference = std::max(difference, std::abs(value - expected[i]));
    scale = std::max(scale, std::abs(expected[i]));
  }
  return scale == 0 ? difference : difference / scale;
}

// What the type can be asked for: an element rounded once, or twice.
template <class T>
constexpr double tolerance() {
  return std::is_same_v<T, float> ? 1e-5 : 1e-2;
}

}  // namespace offshoot::testing
