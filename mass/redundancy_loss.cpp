#include "mass/redundancy_loss.h"

#include "ops/cosine_rows.h"
#include "ops/reduce.h"
#include "ops/unary.h"

namespace offshoot {

Tensor redundancy_loss(Tape& tape, const Tensor& gate,
                       const std::vector<std::pair<int64_t, int64_t>>& pairs, bool mean) {
  if (pairs.empty()) return Tensor::zeros({}, gate.dtype(), gate.device());
  const Tensor squares = square(tape, cosine_rows(tape, gate, pairs));
  return mean ? offshoot::mean(tape, squares) : sum(tape, squares);
}

}  // namespace offshoot
