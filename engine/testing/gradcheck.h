// Gradient checks for operations, ours and users': the analytic gradients against central
// differences, in float64.
//
//   OpCase op_case{"prime_sizes", {{7, 13}, {13}},
//                  [](Tape& tape, const std::vector<Tensor>& in) { return my_op(tape, in[0],
//                  in[1]); }};
//   EXPECT_LT(testing::gradient_error(op_case), 1e-6);
#pragma once

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "engine/random.h"
#include "engine/tape.h"

namespace offshoot::testing {

struct OpCase {
  std::string name;           // "one_row", "prime_sizes", ...: what is special about it
  std::vector<Shape> inputs;  // float64, each differentiated
  // One floating-point result, of any shape.
  std::function<Tensor(Tape&, const std::vector<Tensor>&)> op;
  // Writes input `index`; standard normal numbers where it is not given. Keep them at least 1e-3
  // away from where the operation is not differentiable.
  std::function<void(size_t index, const Tensor& input, Random& random)> fill = {};

  friend void PrintTo(const OpCase& op_case, std::ostream* out) { *out << op_case.name; }
};

// The largest error of the analytic gradients over all inputs: max|a - b| / max|b| a tensor; inf
// where either is not finite. The result is weighted by random numbers. Tensors of up to 256
// elements are checked element by element, larger ones along 8 random directions. Gradients are
// taken twice, into empty slots and on top of random contents, so that a backward which overwrites
// where it must add (or adds to garbage) shows; new memory is full of NaN meanwhile.
double gradient_error(const OpCase& op_case, uint64_t seed = 1);

// Standard normal numbers.
Tensor random_tensor(const Shape& shape, DType dtype, uint64_t seed);

// max|a - b| / max|b|, of tensors of one floating-point dtype; inf where shapes differ or a number
// is not finite. 0 when both are zero throughout.
double relative_error(const Tensor& got, const Tensor& expected);

}  // namespace offshoot::testing
