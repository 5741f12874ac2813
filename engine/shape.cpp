#include "engine/shape.h"

#include <vector>

namespace offshoot {

Shape::Shape(std::span<const int64_t> sizes) {
  if (sizes.size() > kMaxRank) {
    fail("shape", "got {} axes, expected at most {}", sizes.size(), kMaxRank);
  }
  for (const int64_t size : sizes) {
    if (size < 0) fail("shape", "axis {}: got size {}, expected at least 0", rank_, size);
    sizes_[static_cast<size_t>(rank_++)] = size;
    if (__builtin_mul_overflow(size_, size, &size_) || size_ > kMaxSize) {
      fail("shape", "got {}, expected at most 2^59 elements", to_string(*this));
    }
  }
}

int Shape::axis(int64_t index, std::string_view where) const {
  if (index < -rank_ || index >= rank_) {
    fail(where, "axis: got {}, expected {}..{} for shape {}", index, -rank_, rank_ - 1,
         to_string(*this));
  }
  return static_cast<int>(index < 0 ? index + rank_ : index);
}

Shape Shape::with(int axis, int64_t size) const {
  std::vector<int64_t> sizes(begin(), end());
  sizes.at(static_cast<size_t>(axis)) = size;
  return Shape(sizes);
}

Shape Shape::without(int axis) const {
  std::vector<int64_t> sizes(begin(), end());
  sizes.erase(sizes.begin() + axis);
  return Shape(sizes);
}

Shape Shape::inserted(int axis, int64_t size) const {
  std::vector<int64_t> sizes(begin(), end());
  sizes.insert(sizes.begin() + axis, size);
  return Shape(sizes);
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (const int64_t size : shape) {
    text += fmt::format("{}{}", text.size() > 1 ? ", " : "", size);
  }
  return text + "]";
}

}  // namespace offshoot
