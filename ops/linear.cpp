#include "ops/linear.h"

#include "ops/bias.h"
#include "ops/gemm.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "linear";

template <class T>
void forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& out) {
  const int64_t N = row_count(x), D = x.last_dim(), H = weight.dim(0);
  const auto x_view = plain(x.data<T>(), D), weight_view = transposed(weight.data<T>(), D);
  T* const out_data = out.data<T>();
  if (!bias.defined()) return gemm<T>(N, H, D, x_view, weight_view, out_data, H);
  const T* const b = bias.data<T>();
  gemm_then<T>(N, H, D, x_view, weight_view, out_data, H, true,
               [=](int64_t first, int64_t last) { add_bias(out_data, first, last, H, b); });
}

template <class T>
void backward(Tape& walk, const Tensor& x, const Tensor& weight, const Tensor& bias,
              const Tensor& dout) {
  const int64_t N = row_count(x), D = x.last_dim(), H = weight.dim(0);
  const T* const g = dout.data<T>();
  if (const GradSlot dx = walk.slot(x)) {
    gemm<T>(N, D, H, plain(g, H), plain(weight.data<T>(), D), dx.grad.data<T>(), D, dx.overwrite);
  }
  if (const GradSlot dweight = walk.slot(weight)) {
    gemm<T>(H, D, N, transposed(g, H), plain(x.data<T>(), D), dweight.grad.data<T>(), D,
            dweight.overwrite);
  }
  add_column_sums(g, N, H, walk.slot(bias));
}

}  // namespace

Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_float(kName, "x", x);
  check_rows(kName, "x", x);
  check_rank(kName, "weight", weight, 2);
  check_shape(kName, "weight", weight, {std::max<int64_t>(1, weight.dim(0)), x.last_dim()});
  check_dtype(kName, "weight", weight, x.dtype());
  if (bias.defined()) {
    check_shape(kName, "bias", bias, {weight.dim(0)});
    check_dtype(kName, "bias", bias, x.dtype());
  }

  const Tensor out(x.shape().with(x.rank() - 1, weight.dim(0)), x.dtype());
  dispatch_float(kName, x.dtype(), [&]<class T>(T) { forward<T>(x, weight, bias, out); });
  tape.record(kName, {x, weight, bias}, out, [x, weight, bias](Tape& walk, const Tensor& dout) {
    dispatch_float(kName, x.dtype(), [&]<class T>(T) { backward<T>(walk, x, weight, bias, dout); });
  });
  return out;
}

}  // namespace offshoot
