// What operations share: checks of their inputs, and how long a parallel range should be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "engine/tensor.h"

namespace offshoot {

// Ranges of cheap elements (an addition, a product) shorter than this are not worth a thread: an
// empty parallel loop costs one to two microseconds.
inline constexpr int64_t kElementGrain = 16384;

// Rows that make up such a range, when each has `elements` cheap elements; an element that costs
// more (an exponential: about 4) counts as many.
inline int64_t row_grain(int64_t elements) {
  return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, elements));
}

// Each throws Error "[op] what: got A, expected B", also for an undefined tensor.

inline void check_defined(std::string_view op, std::string_view what, const Tensor& tensor) {
  if (!tensor.defined()) fail(op, "{}: got no tensor, expected one", what);
}

inline void check_dtype(std::string_view op, std::string_view what, const Tensor& tensor,
                        DType expected) {
  check_defined(op, what, tensor);
  if (tensor.dtype() != expected) {
    fail(op, "{}: got {}, expected {}", what, to_string(tensor.dtype()), to_string(expected));
  }
}

inline void check_float(std::string_view op, std::string_view what, const Tensor& tensor) {
  check_defined(op, what, tensor);
  if (!is_float(tensor.dtype())) {
    fail(op, "{}: got {}, expected f32 or f64", what, to_string(tensor.dtype()));
  }
}

inline void check_shape(std::string_view op, std::string_view what, const Tensor& tensor,
                        const Shape& expected) {
  check_defined(op, what, tensor);
  if (tensor.shape() != expected) {
    fail(op, "{}: got shape {}, expected {}", what, to_string(tensor.shape()), to_string(expected));
  }
}

inline void check_rank(std::string_view op, std::string_view what, const Tensor& tensor,
                       int expected) {
  check_defined(op, what, tensor);
  if (tensor.rank() != expected) {
    fail(op, "{}: got shape {}, expected {} axes", what, to_string(tensor.shape()), expected);
  }
}

// `tensor` is seen as rows of its last axis, which must be there and not be empty.
inline void check_rows(std::string_view op, std::string_view what, const Tensor& tensor) {
  check_defined(op, what, tensor);
  if (tensor.rank() < 1 || tensor.last_dim() < 1) {
    fail(op, "{}: got shape {}, expected a last axis of at least 1", what,
         to_string(tensor.shape()));
  }
}

inline int64_t row_count(const Tensor& tensor) { return tensor.size() / tensor.last_dim(); }

}  // namespace offshoot
