// Reductions: over all elements, giving a scalar of shape [], or along one axis, which goes (or
// stays with size 1 where `keep` is set).
//   sum      dx = dout           mean     dx = dout / count
//   max      dx = dout at the first of the largest elements
//   argmax   the index of the first of the largest elements, i64; no gradient
// Shapes   any; an axis counts from the end when negative. f32 or f64; on CUDA f32 or bf16.
// Saved    nothing but shapes for sum and mean, the winners' indices for max.
// Sums     in the element's dtype (on CUDA in f32), in an order that the shape fixes: bitwise
//          repeatable, whatever the thread count or the device's size.
// NaN      is not looked for: which element is the largest among NaN is not promised.
// Throws   Error for other dtypes, an axis out of range; for mean, max and argmax when there is no
//          element to reduce.
#pragma once

#include <cstdint>

#include "engine/tape.h"

namespace offshoot {

Tensor sum(Tape& tape, const Tensor& x);
Tensor mean(Tape& tape, const Tensor& x);
Tensor max(Tape& tape, const Tensor& x);

Tensor sum(Tape& tape, const Tensor& x, int64_t axis, bool keep = false);
Tensor mean(Tape& tape, const Tensor& x, int64_t axis, bool keep = false);
Tensor max(Tape& tape, const Tensor& x, int64_t axis, bool keep = false);

Tensor argmax(const Tensor& x, int64_t axis);

}  // namespace offshoot
