#include "ops/linear.h"

#include <type_traits>

#include "cuda/activation.h"
#include "cuda/elements.h"
#include "cuda/gemm.h"
#include "ops/activation.h"
#include "ops/bias.h"
#include "ops/gemm.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "linear", kGeluName = "linear_gelu";

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

// What products on CUDA read: the weight, rounded to x's dtype.
template <class T>
Tensor operand_of(const Tensor& weight) {
  if constexpr (std::is_same_v<T, float>) {
    return weight;
  } else {
    const Tensor rounded(weight.shape(), dtype_of<T>, weight.device());
    cuda::accumulate_elements(weight.device_data<float>(), rounded.device_data<T>(), weight.size(),
                              true, stream_of(weight));
    return rounded;
  }
}

// out = x operand^T + bias; with aux, that goes to aux and its GELU to out.
template <class T>
void forward_cuda(const Tensor& x, const Tensor& operand, const Tensor& bias, const Tensor& aux,
                  const Tensor& out) {
  cuda::Gemm product;
  product.M = row_count(x), product.N = operand.dim(0), product.K = x.last_dim();
  product.a = x.device_data<T>(), product.b = operand.device_data<T>();
  product.c = out.device_data<T>();
  product.transpose_b = true;
  if (bias.defined()) {
    product.epilogue = cuda::GemmEpilogue::bias;
    product.bias = bias.device_data<float>();
  }
  if (aux.defined()) {
    product.epilogue = cuda::GemmEpilogue::bias_gelu;
    product.aux = aux.device_data<T>();
  }
  cuda::gemm(product, x.device().index, stream_of(x));
}

template <class T>
void backward_cuda(Tape& walk, const Tensor& x, const Tensor& operand, const Tensor& weight,
                   const Tensor& bias, const Tensor& dout) {
  const int64_t N = row_count(x), D = x.last_dim(), H = weight.dim(0);
  const int device = x.device().index;
  if (const GradSlot dx = walk.slot(x)) {
    cuda::Gemm product;
    product.M = N, product.N = D, product.K = H;
    product.a = dout.device_data<T>(), product.b = operand.device_data<T>();
    product.c = dx.grad.device_data<T>(), product.overwrite = dx.overwrite;
    cuda::gemm(product, device, stream_of(x));
  }
  const GradSlot dweight = walk.slot(weight), dbias = walk.slot(bias);
  if (!dweight && !dbias) return;
  cuda::Gemm product;  // without columns where only dbias is wanted
  product.M = H, product.N = dweight ? D : 0, product.K = N;
  product.a = dout.device_data<T>(), product.transpose_a = true;
  product.b = x.device_data<T>();
  if (dweight) product.c = dweight.grad.device_data<float>(), product.overwrite = dweight.overwrite;
  if (dbias) {
    product.epilogue = cuda::GemmEpilogue::bias_gradient;
    product.dbias = dbias.grad.device_data<float>(), product.overwrite_dbias = dbias.overwrite;
  }
  cuda::gemm(product, device, stream_of(x));
}

void check(std::string_view op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_float(op, "x", x);
  check_rows(op, "x", x);
  check_rank(op, "weight", weight, 2);
  check_shape(op, "weight", weight, {std::max<int64_t>(1, weight.dim(0)), x.last_dim()});
  check_parameter(op, "weight", weight, x);
  if (bias.defined()) {
    check_shape(op, "bias", bias, {weight.dim(0)});
    check_parameter(op, "bias", bias, x);
  }
}

Tensor output_of(const Tensor& x, const Tensor& weight) {
  return {x.shape().with(x.rank() - 1, weight.dim(0)), x.dtype(), x.device()};
}

template <class T>
Tensor fused_linear_gelu(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check(kGeluName, x, weight, bias);
  check_defined(kGeluName, "bias", bias);
  const Tensor out = output_of(x, weight), aux = output_of(x, weight);
  const Tensor operand = operand_of<T>(weight);
  forward_cuda<T>(x, operand, bias, aux, out);
  tape.record(kGeluName, {x, weight, bias}, out,
              [x, operand, weight, bias, aux](Tape& walk, const Tensor& dout) {
                const Tensor daux(aux.shape(), aux.dtype(), aux.device());
                cuda::map_backward(cuda::Activation::gelu_tanh, aux.device_data<T>(),
                                   dout.device_data<T>(), aux.size(), daux.device_data<T>(), true,
                                   stream_of(aux));
                backward_cuda<T>(walk, x, operand, weight, bias, daux);
              });
  return out;
}

}  // namespace

Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check(kName, x, weight, bias);
  const Tensor out = output_of(x, weight);
  Tensor operand;  // on CUDA
  dispatch(
      kName, x, [&]<class T>(T) { forward<T>(x, weight, bias, out); },
      [&]<class T>(T) {
        operand = operand_of<T>(weight);
        forward_cuda<T>(x, operand, bias, {}, out);
      });
  tape.record(kName, {x, weight, bias}, out,
              [x, operand, weight, bias](Tape& walk, const Tensor& dout) {
                dispatch(
                    kName, x, [&]<class T>(T) { backward<T>(walk, x, weight, bias, dout); },
                    [&]<class T>(T) { backward_cuda<T>(walk, x, operand, weight, bias, dout); });
              });
  return out;
}

Tensor linear_gelu(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if constexpr (kHasCuda) {
    if (x.defined() && x.device().is_cuda() && x.dtype() == DType::bf16) {
      return fused_linear_gelu<bfloat16>(tape, x, weight, bias);
    }
  }
  check_defined(kGeluName, "bias", bias);
  return gelu(tape, linear(tape, x, weight, bias));
}

}  // namespace offshoot
