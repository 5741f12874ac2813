// Arithmetic on two tensors, element by element, broadcast over trailing axes (sizes equal or 1).
//   add      a + b        da = dout              db = dout
//   sub      a - b        da = dout              db = -dout
//   mul      a b          da = dout b            db = dout a
//   div      a / b        da = dout / b          db = -dout a / b^2
//   maximum  max(a, b)    dout goes to the larger one, all of it to a where they are equal
// Shapes   a and b as above; out has their common shape. One dtype, f32 or f64; on CUDA f32 or
//          bf16, sums in f32.
// Saved    a and b. Backward adds; a broadcast operand gets the sum over what it was repeated for.
// Repeat   bitwise repeatable, whatever the thread count.
// Throws   Error when shapes cannot be broadcast, dtypes or devices disagree.
#pragma once

#include "engine/tape.h"

namespace offshoot {

Tensor add(Tape& tape, const Tensor& a, const Tensor& b);
Tensor sub(Tape& tape, const Tensor& a, const Tensor& b);
Tensor mul(Tape& tape, const Tensor& a, const Tensor& b);
Tensor div(Tape& tape, const Tensor& a, const Tensor& b);
Tensor maximum(Tape& tape, const Tensor& a, const Tensor& b);

}  // namespace offshoot
