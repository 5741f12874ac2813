// Element types.
#pragma once

#include <cstdint>
#include <string_view>

#include "cuda/bfloat16.h"
#include "engine/error.h"

namespace offshoot {

// f64 is for gradient checks and reference runs on the CPU; bf16 is stored here and computed with
// on CUDA; i32 and i64 hold tokens, indices and counts.
enum class DType { f32, f64, bf16, i32, i64 };

constexpr std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
  }
  return "unknown";
}

constexpr int64_t element_bytes(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::bf16:
      return 2;
  }
  return 0;
}

constexpr bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::f64; }

template <class T>
struct DTypeOf;  // no other C++ element types
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<bfloat16> {
  static constexpr DType value = DType::bf16;
};
template <class T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

// Calls f(T{}) with the C++ type of a floating-point `dtype`. Throws Error for the others.
template <class F>
decltype(auto) dispatch_float(std::string_view where, DType dtype, F&& f) {
  if (dtype == DType::f32) return f(float{});
  if (dtype == DType::f64) return f(double{});
  fail(where, "dtype: got {}, expected f32 or f64", to_string(dtype));
}

// The same for what CUDA computes with: f32 and bf16.
template <class F>
decltype(auto) dispatch_cuda(std::string_view where, DType dtype, F&& f) {
  if (dtype == DType::f32) return f(float{});
  if (dtype == DType::bf16) return f(bfloat16{});
  fail(where, "dtype: got {} on a CUDA device, expected f32 or bf16", to_string(dtype));
}

}  // namespace offshoot
