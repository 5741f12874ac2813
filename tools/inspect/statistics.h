// What a dataset's numbers are like, from pieces of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "engine/hdf5_file.h"

namespace offshoot {

// Calls f(values) with the numbers in `bytes`, as a span of their own type.
template <class F>
void with_numbers(H5Type type, std::span<const std::byte> bytes, F f) {
  const auto as = [&]<class T>(T) {
    f(std::span(reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)));
  };
  switch (type) {
    case H5Type::f32:
      return as(float{});
    case H5Type::f64:
      return as(double{});
    case H5Type::i32:
      return as(int32_t{});
    case H5Type::i64:
      return as(int64_t{});
    case H5Type::u8:
      return as(uint8_t{});
    case H5Type::u64:
      return as(uint64_t{});
    case H5Type::text:
    case H5Type::table:
    case H5Type::other:
      return;
  }
}

struct Statistics {
  int64_t count = 0;  // of all elements
  int64_t nans = 0;
  int64_t infinities = 0;
  // Of those that are finite.
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  double sum_of_squares = 0;

  int64_t finite() const { return count - nans - infinities; }
  double norm() const;  // L2

  void add(H5Type type, std::span<const std::byte> bytes);
};

// How the finite numbers in [min, max] spread over equal parts of it.
class Histogram {
 public:
  Histogram(double min, double max, int parts);
  void add(H5Type type, std::span<const std::byte> bytes);
  const std::vector<int64_t>& counts() const { return counts_; }

 private:
  double min_;
  double scale_;  // parts a unit
  std::vector<int64_t> counts_;
};

// One block character a part, as high as the part's share of the fullest; a part with few is still
// seen, an empty one is a space.
std::string sparkline(const std::vector<int64_t>& counts);

}  // namespace offshoot
