// Shape: the sizes of a tensor's axes, outermost first.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "engine/error.h"

namespace offshoot {

// At most kMaxRank axes, kept inline. Rank 0 is a scalar, of one element. Sizes are >= 0. Whatever
// makes a shape that cannot be throws Error.
class Shape {
 public:
  static constexpr int kMaxRank = 6;
  // Leaves room for the bytes of any dtype in 63 bits.
  static constexpr int64_t kMaxSize = int64_t{1} << 59;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes);

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  // Number of elements, at most kMaxSize.
  int64_t size() const { return size_; }
  int64_t operator[](int axis) const { return sizes_[static_cast<size_t>(axis)]; }
  int64_t last() const { return (*this)[rank_ - 1]; }
  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }

  // -1 is the last axis. Throws Error naming `where` when the axis is not in [-rank, rank).
  int axis(int64_t index, std::string_view where) const;

  // This shape with one axis' size replaced; with an axis dropped; with one put before `axis`.
  Shape with(int axis, int64_t size) const;
  Shape without(int axis) const;
  Shape inserted(int axis, int64_t size) const;

  friend bool operator==(const Shape& a, const Shape& b) {
    return std::ranges::equal(a.sizes(), b.sizes());
  }

 private:
  std::span<const int64_t> sizes() const { return {sizes_.data(), static_cast<size_t>(rank_)}; }

  std::array<int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
  int64_t size_ = 1;
};

std::string to_string(const Shape& shape);  // "[2, 3]"

}  // namespace offshoot
