// Fills, copies, sums and multiples of elements at odd sizes and addresses.
#include "cuda/elements.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "cuda/expert_stats.h"
#include "tests/cuda/device_test.h"

namespace offshoot::cuda {
namespace {

using ElementsCuda = DeviceTest;

// Around a word, a block's share of bytes and of words, and more than one of those.
const int64_t kSizes[] = {0, 1, 2, 7, 8, 9, 255, 256, 1023, 1024, 1025, 8191, 8192, 8200, 33333};
const int64_t kOffsets[] = {0, 1, 4, 8, 13};

constexpr int64_t kRoom = 40000;

std::vector<uint8_t> numbered_bytes() {
  std::vector<uint8_t> bytes;
  for (int64_t i = 0; i < kRoom; ++i) bytes.push_back(static_cast<uint8_t>(i * 31 + i / 256 + 1));
  return bytes;
}

TEST_F(ElementsCuda, ZerosAreWhereTheyWereAskedFor) {
  const Committed memory(kRoom);
  for (const int64_t size : kSizes) {
    for (const int64_t offset : kOffsets) {
      std::vector<uint8_t> expected = numbered_bytes();
      upload(memory.data(), expected);
      fill_zero(memory.data() + offset, size, use(kDevice));
      std::fill_n(expected.begin() + offset, size, uint8_t{0});
      EXPECT_TRUE(download(memory.as<uint8_t>(), kRoom) == expected) << size << " at " << offset;
    }
  }
}

TEST_F(ElementsCuda, CopiesTouchNothingElse) {
  const Committed from(kRoom), to(kRoom);
  const std::vector<uint8_t> numbers = numbered_bytes();
  upload(from.data(), numbers);
  for (const int64_t size : kSizes) {
    for (const int64_t source : kOffsets) {
      for (const int64_t target : {int64_t{0}, int64_t{3}, int64_t{8}}) {
        fill_zero(to.data(), kRoom, use(kDevice));
        copy(from.data() + source, to.data() + target, size, use(kDevice));
        std::vector<uint8_t> expected(kRoom);
        std::copy_n(numbers.begin() + source, size, expected.begin() + target);
        EXPECT_TRUE(download(to.as<uint8_t>(), kRoom) == expected)
            << size << " from " << source << " to " << target;
      }
    }
  }
}

float as_float(float value) { return value; }
float as_float(bfloat16 value) { return to_float(value); }
template <class T>
T rounded(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return to_bfloat16(value);
  }
}

template <class T>
std::vector<T> numbers(int64_t count, float start) {
  std::vector<T> all;
  for (int64_t i = 0; i < count; ++i)
    all.push_back(rounded<T>(start + 0.37f * static_cast<float>(i)));
  return all;
}

template <class T>
std::vector<T> poison(int64_t count) {
  return std::vector<T>(static_cast<size_t>(count),
                        rounded<T>(std::numeric_limits<float>::quiet_NaN()));
}

template <class From, class To>
void expect_accumulates() {
  const Committed from(kRoom * 4), to(kRoom * 4);
  for (const int64_t size : kSizes) {
    const std::vector<From> source = numbers<From>(size, -3.0f);
    const std::vector<To> before = numbers<To>(size, 1.0f);
    upload(from.data(), source);
    for (const bool overwrite : {true, false}) {
      // A sentinel behind the last element.
      std::vector<To> target = overwrite ? poison<To>(size) : before;
      target.push_back(rounded<To>(77.0f));
      upload(to.data(), target);
      accumulate_elements(from.as<From>(), to.as<To>(), size, overwrite, use(kDevice));
      const std::vector<To> got = download(to.as<To>(), size + 1);
      for (size_t i = 0; i < source.size(); ++i) {
        const float sum = as_float(source[i]) + (overwrite ? 0.0f : as_float(before[i]));
        ASSERT_EQ(as_float(got[i]), as_float(rounded<To>(sum))) << size << " " << i;
      }
      EXPECT_EQ(as_float(got.back()), 77.0f);
    }
  }
}

TEST_F(ElementsCuda, SumsAreRoundedOnceToTheirType) {
  expect_accumulates<float, float>();
  expect_accumulates<float, bfloat16>();
  expect_accumulates<bfloat16, float>();
  expect_accumulates<bfloat16, bfloat16>();
}

template <class T>
void expect_scales() {
  const Committed from(kRoom * 4), to(kRoom * 4);
  for (const int64_t size : kSizes) {
    const std::vector<T> source = numbers<T>(size, -3.0f);
    std::vector<T> target = poison<T>(size);
    target.push_back(rounded<T>(77.0f));
    upload(from.data(), source);
    upload(to.data(), target);
    scale_elements(from.as<T>(), to.as<T>(), size, -1.7f, use(kDevice));
    const std::vector<T> got = download(to.as<T>(), size + 1);
    for (size_t i = 0; i < source.size(); ++i) {
      ASSERT_EQ(as_float(got[i]), as_float(rounded<T>(-1.7f * as_float(source[i])))) << size;
    }
    EXPECT_EQ(as_float(got.back()), 77.0f);
  }
}

TEST_F(ElementsCuda, MultiplesAreRoundedOnceToTheirType) {
  expect_scales<float>();
  expect_scales<bfloat16>();
}

TEST_F(ElementsCuda, ProjectionIsAlongTheOtherVector) {
  const Committed at_w(kRoom * 4), at_g(kRoom * 4);
  for (const int64_t size : {1, 5, 255, 256, 257, 1000}) {
    constexpr int64_t kVectors = 3;
    std::vector<float> w, g;
    for (int64_t i = 0; i < kVectors * size; ++i) {
      w.push_back(std::sin(static_cast<float>(i)) + 0.2f);
      g.push_back(std::cos(1.3f * static_cast<float>(i)));
    }
    for (int64_t i = 0; i < size; ++i) w[static_cast<size_t>(size + i)] = 0.0f;  // no direction
    upload(at_w.data(), w);
    upload(at_g.data(), g);
    project_rows(at_g.as<float>(), at_w.as<float>(), kVectors, size, at_g.as<float>(),
                 use(kDevice));
    const std::vector<float> got = download(at_g.as<float>(), kVectors * size);
    for (int64_t vector = 0; vector < kVectors; ++vector) {
      double along = 0, squares = 1e-12;
      const auto first = static_cast<size_t>(vector * size), count = static_cast<size_t>(size);
      for (size_t i = first; i < first + count; ++i) {
        along += static_cast<double>(g[i]) * w[i];
        squares += static_cast<double>(w[i]) * w[i];
      }
      for (size_t i = first; i < first + count; ++i) {
        ASSERT_NEAR(got[i], along / squares * w[i], 1e-6) << size << " vector " << vector;
      }
    }
  }
  project_rows(at_g.as<float>(), at_w.as<float>(), 0, 5, at_g.as<float>(), use(kDevice));
}

}  // namespace
}  // namespace offshoot::cuda
