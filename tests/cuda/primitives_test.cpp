// Device-wide sums, scans and sorts against the standard library's.
#include "cuda/primitives.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "tests/cuda/device_array.h"

namespace offshoot {
namespace {

using cuda::kDevice;
using testing::DeviceArray;

class PrimitivesCuda : public cuda::DeviceTest {
 protected:
  std::mt19937 generator_{11};
};

const int64_t kCounts[] = {0, 1, 2, 31, 256, 1021, 40'000, 300'007};

template <class T>
void check_sum(int64_t count, std::mt19937& generator) {
  SCOPED_TRACE(count);
  std::normal_distribution<T> normal(1, 1);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = normal(generator);
  const DeviceArray<T> from(values), out(1);
  const DeviceArray<char> scratch(static_cast<int64_t>(cuda::sum_bytes<T>(count)));
  cuda::sum(from.data(), count, out.data(), scratch.data(), cuda::use(kDevice));
  const T got = out.values()[0];
  const auto expected = std::accumulate(values.begin(), values.end(), 0.0L);
  EXPECT_NEAR(got, static_cast<double>(expected),
              (sizeof(T) == 4 ? 1e-6 : 1e-15) * static_cast<double>(count));
  cuda::sum(from.data(), count, out.data(), scratch.data(), cuda::use(kDevice));
  EXPECT_EQ(out.values()[0], got);
  EXPECT_EQ(scratch.values().size(), scratch.size());  // looks at its guard bytes
}

TEST_F(PrimitivesCuda, Sum) {
  for (const int64_t count : kCounts) {
    check_sum<float>(count, generator_);
    check_sum<double>(count, generator_);
  }
}

template <class T>
void check_scan(int64_t count, std::mt19937& generator) {
  SCOPED_TRACE(count);
  std::uniform_int_distribution<T> small(0, 1000);
  std::vector<T> values(static_cast<size_t>(count)), expected(static_cast<size_t>(count));
  for (T& value : values) value = small(generator);
  // Beyond 32 bits where the type is.
  if (sizeof(T) == 8 && count > 2) values[1] = T{1} << (8 * sizeof(T) - 20);
  std::exclusive_scan(values.begin(), values.end(), expected.begin(), T{0});
  const DeviceArray<T> from(values), out(count);
  const DeviceArray<char> scratch(static_cast<int64_t>(cuda::exclusive_scan_bytes<T>(count)));
  cuda::exclusive_scan(from.data(), count, out.data(), scratch.data(), cuda::use(kDevice));
  EXPECT_EQ(out.values(), expected);
  EXPECT_EQ(scratch.values().size(), scratch.size());
}

TEST_F(PrimitivesCuda, ExclusiveScan) {
  for (const int64_t count : kCounts) {
    check_scan<int32_t>(count, generator_);
    check_scan<int64_t>(count, generator_);
  }
}

// Keys in [least, most] of which bits [first_bit, last_bit) count.
void check_sort(int64_t count, int32_t least, int32_t most, int first_bit, int last_bit,
                std::mt19937& generator) {
  SCOPED_TRACE(::testing::Message()
               << count << " keys to " << most << ", bits " << first_bit << " to " << last_bit);
  std::uniform_int_distribution<int32_t> some(least, most);
  std::vector<int32_t> keys(static_cast<size_t>(count)), values(keys.size());
  for (int32_t& key : keys) key = some(generator);
  std::iota(values.begin(), values.end(), 5);
  const DeviceArray<int32_t> from_keys(keys), from_values(values), to_keys(count), to_values(count);
  const DeviceArray<char> scratch(static_cast<int64_t>(cuda::sort_pairs_bytes(count)));
  cuda::sort_pairs(from_keys.data(), from_values.data(), count, first_bit, last_bit, to_keys.data(),
                   to_values.data(), scratch.data(), cuda::use(kDevice));
  const int64_t mask = (int64_t{1} << (last_bit - first_bit)) - 1;
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) {
    return least < 0 ? int64_t{keys[i]} : (keys[i] >> first_bit) & mask;
  });
  std::vector<int32_t> expected_keys, expected_values;
  for (const size_t i : order) {
    expected_keys.push_back(keys[i]);
    expected_values.push_back(values[i]);
  }
  EXPECT_TRUE(to_keys.values() == expected_keys);
  EXPECT_TRUE(to_values.values() == expected_values);
  EXPECT_EQ(scratch.values().size(), scratch.size());
}

TEST_F(PrimitivesCuda, SortPairs) {
  for (const int64_t count : kCounts) {
    check_sort(count, 0, 6, 0, 3, generator_);
    check_sort(count, 0, 50'256, 0, 16, generator_);
    check_sort(count, 0, 1 << 20, 4, 9, generator_);
    check_sort(count, -1000, 1000, 0, 32, generator_);
  }
}

}  // namespace
}  // namespace offshoot
