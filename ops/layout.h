// Moving elements without computing.
//   slice      count elements from `first` on along an axis
//   reshape    the same elements under another shape of the same size; shares x's memory
//   concat     tensors one behind the other along an axis; other sizes equal
//   stack      tensors of one shape along a new axis
//   transpose  two axes swapped
// Shapes   any; an axis counts from the end when negative. f32 or f64; on CUDA f32 or bf16.
// Saved    nothing but shapes. Backward moves dout back and adds.
// Throws   Error for sizes, ranges, dtypes or devices that do not fit, or no tensor to concatenate.
#pragma once

#include <cstdint>
#include <span>

#include "engine/tape.h"

namespace offshoot {

Tensor slice(Tape& tape, const Tensor& x, int64_t axis, int64_t first, int64_t count);
Tensor reshape(Tape& tape, const Tensor& x, const Shape& shape);
Tensor concat(Tape& tape, std::span<const Tensor> parts, int64_t axis);
Tensor stack(Tape& tape, std::span<const Tensor> parts, int64_t axis);
Tensor transpose(Tape& tape, const Tensor& x, int64_t axis_a, int64_t axis_b);

}  // namespace offshoot
