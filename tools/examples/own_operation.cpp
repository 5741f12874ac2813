// An operation of your own.
//
// RMSNorm (Zhang, Sennrich 2019, arXiv 1910.07467) is not in the library. Here it is, in one
// function: out = weight x / rms, with rms^2 the mean of a row's squares.
//
// - It computes its result, then tells the tape how to walk back: `record` names the inputs that
//   may want a gradient, and the lambda holds what backward needs, by value.
// - `slot(input)` is where an input's gradient goes, or nothing where none is wanted. It may be
//   empty or hold what others have added: `accumulate` writes or adds.
// - `dispatch_float` calls the body with float or double, as the tensor's type says. Gradients are
//   checked in double.
// - `testing::gradient_error` compares them with central differences, at random weights of the
//   result, into empty slots and full ones. It is in the target `offshoot::testing`.
//
// Run it:
//
//     ninja -C build/release example_own_operation && build/release/examples/own_operation
//
// It prints the error of the gradients, and what the check says when the term that goes through rms
// is forgotten:
//
//     rms_norm: gradient error 4.7e-11
//     without the term of rms: gradient error 2.1e-01
#include <fmt/core.h>

#include <cmath>
#include <vector>

#include "engine/tape.h"
#include "engine/testing/gradcheck.h"

using namespace offshoot;

namespace {

// x [N, D], weight [D] -> [N, D]. With r = 1 / sqrt(mean of x^2 + eps):
//   out[n, d] = weight[d] r[n] x[n, d]
//   dx[n, d]  = r (dout weight)[d] - r^3 x[n, d] / D * sum of (dout weight x)
// Throws Error when the shapes do not fit.
Tensor rms_norm(Tape& tape, const Tensor& x, const Tensor& weight, bool through_rms = true) {
  if (x.rank() != 2 || weight.shape() != Shape{x.last_dim()}) {
    fail("rms_norm", "got x {} and weight {}, expected [N, D] and [D]", to_string(x.shape()),
         to_string(weight.shape()));
  }
  const int64_t N = x.dim(0), D = x.dim(1);
  const Tensor out(x.shape(), x.dtype()), inverse({N}, x.dtype());
  dispatch_float("rms_norm", x.dtype(), [&]<class T>(T) {
    const T *in = x.data<T>(), *w = weight.data<T>();
    for (int64_t n = 0; n < N; ++n) {
      T squares = 0;
      for (int64_t d = 0; d < D; ++d) squares += in[n * D + d] * in[n * D + d];
      const T r = inverse.data<T>()[n] = 1 / std::sqrt(squares / static_cast<T>(D) + T(1e-6));
      for (int64_t d = 0; d < D; ++d) out.data<T>()[n * D + d] = w[d] * r * in[n * D + d];
    }
  });
  tape.record("rms_norm", {x, weight}, out, [=](Tape& walk, const Tensor& dout) {
    dispatch_float("rms_norm", x.dtype(), [&]<class T>(T) {
      const T *in = x.data<T>(), *w = weight.data<T>(), *g = dout.data<T>();
      const T* r = inverse.data<T>();
      if (const GradSlot dx = walk.slot(x)) {
        for (int64_t n = 0; n < N; ++n) {
          T dot = 0;
          for (int64_t d = 0; d < D; ++d) dot += g[n * D + d] * w[d] * in[n * D + d];
          const T pull = through_rms ? r[n] * r[n] * r[n] * dot / static_cast<T>(D) : T(0);
          for (int64_t d = 0; d < D; ++d) {
            const T own = r[n] * g[n * D + d] * w[d] - pull * in[n * D + d];
            accumulate(dx.grad.data<T>()[n * D + d], own, dx.overwrite);
          }
        }
      }
      if (const GradSlot dweight = walk.slot(weight)) {
        for (int64_t d = 0; d < D; ++d) {
          T total = 0;
          for (int64_t n = 0; n < N; ++n) total += g[n * D + d] * r[n] * in[n * D + d];
          accumulate(dweight.grad.data<T>()[d], total, dweight.overwrite);
        }
      }
    });
  });
  return out;
}

double error(bool through_rms) {
  return testing::gradient_error({.name = "rms_norm",
                                  .inputs = {{7, 13}, {13}},
                                  .op = [&](Tape& tape, const std::vector<Tensor>& in) {
                                    return rms_norm(tape, in[0], in[1], through_rms);
                                  }});
}

}  // namespace

int main() {
  fmt::print("rms_norm: gradient error {:.1e}\n", error(true));
  fmt::print("without the term of rms: gradient error {:.1e}\n", error(false));
}
