// What operations share: checks of their inputs, and how long a parallel range should be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "cuda/context.h"
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

// f32 or f64 on the CPU, f32 or bf16 on CUDA.
inline void check_float(std::string_view op, std::string_view what, const Tensor& tensor) {
  check_defined(op, what, tensor);
  const DType dtype = tensor.dtype();
  if (tensor.device().is_cuda()) {
    if (dtype != DType::f32 && dtype != DType::bf16) {
      fail(op, "{}: got {} on {}, expected f32 or bf16", what, to_string(dtype),
           to_string(tensor.device()));
    }
  } else if (!is_float(dtype)) {
    fail(op, "{}: got {}, expected f32 or f64", what, to_string(dtype));
  }
}

inline void check_device(std::string_view op, std::string_view what, const Tensor& tensor,
                         Device expected) {
  check_defined(op, what, tensor);
  if (tensor.device() != expected) {
    fail(op, "{}: got a tensor on {}, expected {}", what, to_string(tensor.device()),
         to_string(expected));
  }
}

// Of the dtype and on the device of `like`.
inline void check_like(std::string_view op, std::string_view what, const Tensor& tensor,
                       const Tensor& like) {
  check_dtype(op, what, tensor, like.dtype());
  check_device(op, what, tensor, like.device());
}

// A parameter that meets `x`: of its dtype, and f32 on CUDA, where x may be bf16 (mixed precision:
// master weights and their gradients stay f32).
inline void check_parameter(std::string_view op, std::string_view what, const Tensor& tensor,
                            const Tensor& x) {
  check_defined(op, what, tensor);
  // Parameters stay where the module is; x is what somebody forgot to move.
  if (tensor.device() != x.device()) {
    fail(op, "x: got a tensor on {}, expected {} as {}", to_string(x.device()),
         to_string(tensor.device()), what);
  }
  check_dtype(op, what, tensor, x.device().is_cuda() ? DType::f32 : x.dtype());
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

// The stream that computes with `tensor`, which is on a CUDA device. All work of a device is done
// in the order in which it is launched.
inline cuda::Stream stream_of(const Tensor& tensor) { return cuda::use(tensor.device().index); }

// Calls cpu(T{}) with T float or double, or cuda(T{}) with T float or bfloat16, as `x` is where.
template <class Cpu, class Cuda>
decltype(auto) dispatch(std::string_view op, const Tensor& x, Cpu&& cpu, Cuda&& cuda) {
  if constexpr (kHasCuda) {
    if (x.device().is_cuda()) return dispatch_cuda(op, x.dtype(), std::forward<Cuda>(cuda));
  }
  return dispatch_float(op, x.dtype(), std::forward<Cpu>(cpu));
}

inline int64_t row_count(const Tensor& tensor) { return tensor.size() / tensor.last_dim(); }

}  // namespace offshoot
