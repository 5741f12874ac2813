// Walk: how kernels go through arrays of several axes, element by element.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>

namespace offshoot::cuda {

// Axes, the innermost first, and for each array how far apart neighbours along an axis lie: 0 where
// the array is repeated. Array 0 is the output, the others are inputs. Where the output is
// repeated, a reduction (cuda/reduce.cuh) combines what belongs to one of its elements. Passed to
// kernels by value.
struct Walk {
  static constexpr int kMaxAxes = 6;
  static constexpr int kMaxArrays = 4;

  int num_axes = 0;
  int64_t sizes[kMaxAxes] = {};
  int64_t strides[kMaxArrays][kMaxAxes] = {};

  // Over arrays of `count` elements that lie side by side.
  static Walk line(int64_t count) {
    Walk walk;
    walk.add_axis(count, {1, 1, 1, 1});
    return walk;
  }

  // The next axis outwards. It is merged with the one before where every array goes on as if that
  // one were longer, and left out where its size is 1; arrays not given have stride 0.
  void add_axis(int64_t size, std::span<const int64_t> strides_of_arrays) {
    int64_t added[kMaxArrays] = {};
    std::ranges::copy(strides_of_arrays, added);
    if (size == 1) return;
    bool merges = num_axes > 0;
    for (int array = 0; merges && array < kMaxArrays; ++array) {
      merges = added[array] == strides[array][num_axes - 1] * sizes[num_axes - 1];
    }
    if (merges) {
      sizes[num_axes - 1] *= size;
      return;
    }
    sizes[num_axes] = size;
    for (int array = 0; array < kMaxArrays; ++array) strides[array][num_axes] = added[array];
    ++num_axes;
  }
  void add_axis(int64_t size, std::initializer_list<int64_t> strides_of_arrays) {
    add_axis(size, std::span(strides_of_arrays.begin(), strides_of_arrays.size()));
  }

  int64_t size() const {
    int64_t product = 1;
    for (int axis = 0; axis < num_axes; ++axis) product *= sizes[axis];
    return product;
  }
};

}  // namespace offshoot::cuda
