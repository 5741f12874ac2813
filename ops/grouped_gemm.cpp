#include "ops/grouped_gemm.h"

#include <algorithm>

#include "engine/parallel.h"
#include "ops/bias.h"
#include "ops/grouped_cuda.h"
#include "ops/grouped_kernels.h"
#include "ops/op.h"
#include "ops/vector_math.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "grouped_linear";

// What forward and backward are about.
struct Layer {
  Tensor x, weight, bias, offsets;
  Epilogue epilogue;

  int64_t P() const { return x.dim(0); }
  int64_t E() const { return weight.dim(0); }
  int64_t H() const { return weight.dim(1); }
  int64_t D() const { return weight.dim(2); }
  std::span<const int64_t> rows() const { return offsets.elements<int64_t>(); }
};

void check(const Layer& layer) {
  check_float(kName, "x", layer.x);
  check_rank(kName, "x", layer.x, 2);
  check_rows(kName, "x", layer.x);
  check_parameter(kName, "weight", layer.weight, layer.x);
  check_rank(kName, "weight", layer.weight, 3);
  check_shape(kName, "weight", layer.weight, {layer.E(), layer.H(), layer.x.last_dim()});
  if (layer.bias.defined()) {
    check_parameter(kName, "bias", layer.bias, layer.x);
    check_shape(kName, "bias", layer.bias, {layer.E(), layer.H()});
  }
  check_dtype(kName, "expert_offsets", layer.offsets, DType::i64);
  check_shape(kName, "expert_offsets", layer.offsets, {layer.E() + 1});
  if (layer.x.device().is_cuda()) return;  // offsets: see grouped_cuda::offsets_for()
  const auto rows = layer.rows();
  if (rows.front() != 0 || rows.back() != layer.P() || !std::ranges::is_sorted(rows)) {
    fail(kName, "expert_offsets: got {} to {}, expected them to rise from 0 to {} rows",
         rows.front(), rows.back(), layer.P());
  }
}

// `derivative` is gelu'(pre), saved in place of pre: forward has its erf at hand. Undefined where
// backward does not need it.
template <class T>
void forward(const Layer& layer, const Tensor& out, const Tensor& derivative) {
  const int64_t H = layer.H(), D = layer.D();
  T* out_rows = out.data<T>();
  T* slopes = derivative.defined() ? derivative.data<T>() : nullptr;
  const T* bias = layer.bias.defined() ? layer.bias.data<T>() : nullptr;
  const bool gelu = layer.epilogue == Epilogue::gelu;
  const ExpertMatrices<T> weight{transposed<T>(layer.weight.data<T>(), D), H * D};
  const auto finish = [=](int64_t expert, int64_t first, int64_t last) {
    if (bias != nullptr) add_bias(out_rows, first, last, H, bias + expert * H);
    if (!gelu) return;
    if (slopes == nullptr) {
      for (int64_t i = first * H; i < last * H; ++i) out_rows[i] = vgelu(out_rows[i]);
    } else {
      for (int64_t i = first * H; i < last * H; ++i) {
        T slope;
        out_rows[i] = vgelu(out_rows[i], slope);
        slopes[i] = slope;
      }
    }
  };
  grouped_gemm_then<T>(layer.rows(), H, D, plain<T>(layer.x.data<T>(), D), weight, out_rows, H,
                       true, finish);
}

// dout, which is this call's own, becomes d(pre).
template <class T>
void backward_gelu(const Tensor& derivative, const Tensor& dout) {
  const T* slopes = derivative.data<T>();
  T* d = dout.data<T>();
  parallel_for(dout.size(), kElementGrain, [=](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) d[i] *= slopes[i];
  });
}

template <class T>
void backward(Tape& tape, const Layer& layer, const Tensor& derivative, const Tensor& dout) {
  const int64_t H = layer.H(), D = layer.D();
  const auto rows = layer.rows();
  if (derivative.defined()) backward_gelu<T>(derivative, dout);
  const T* dpre = dout.data<T>();
  if (const GradSlot dx = tape.slot(layer.x)) {
    const ExpertMatrices<T> weight{plain<T>(layer.weight.data<T>(), D), H * D};
    grouped_gemm<T>(rows, D, H, plain(dpre, H), weight, dx.grad.data<T>(), D, dx.overwrite);
  }
  if (const GradSlot dweight = tape.slot(layer.weight)) {
    grouped_gemm_weights<T>(rows, H, D, dpre, H, layer.x.data<T>(), D, dweight.grad.data<T>(),
                            H * D, dweight.overwrite);
  }
  if (!layer.bias.defined()) return;
  if (const GradSlot dbias = tape.slot(layer.bias)) {
    parallel_tasks(layer.E(), [&](int64_t e) {
      const int64_t first = rows[static_cast<size_t>(e)], last = rows[static_cast<size_t>(e) + 1];
      add_column_sums(dpre + first * H, last - first, H,
                      GradSlot{dbias.grad.rows(e, 1), dbias.overwrite});
    });
  }
}

template <class T>
void forward_reference(const Layer& layer, const Tensor& pre, const Tensor& out) {
  const int64_t H = layer.H(), D = layer.D();
  for (int64_t e = 0; e < layer.E(); ++e) {
    for (int64_t row = layer.rows()[e]; row < layer.rows()[e + 1]; ++row) {
      for (int64_t h = 0; h < H; ++h) {
        T sum = 0;
        for (int64_t d = 0; d < D; ++d) {
          sum += layer.x.data<T>()[row * D + d] * layer.weight.data<T>()[(e * H + h) * D + d];
        }
        if (layer.bias.defined()) sum += layer.bias.data<T>()[e * H + h];
        pre.data<T>()[row * H + h] = sum;
        out.data<T>()[row * H + h] = layer.epilogue == Epilogue::gelu ? vgelu(sum) : sum;
      }
    }
  }
}

// With g = dout gelu'(pre):  dx = g W     dW = g^T x     db = sum of g
template <class T>
void backward_reference(Tape& tape, const Layer& layer, const Tensor& pre, const Tensor& dout) {
  const int64_t H = layer.H(), D = layer.D();
  // Zeros first, so that an expert without rows needs no rule of its own.
  const auto gradient = [&tape](const Tensor& input) -> T* {
    const GradSlot slot = input.defined() ? tape.slot(input) : GradSlot{};
    if (slot && slot.overwrite) fill_zero(slot.grad);
    return slot ? slot.grad.data<T>() : nullptr;
  };
  T* dx = gradient(layer.x);
  T* dweight = gradient(layer.weight);
  T* dbias = gradient(layer.bias);
  for (int64_t e = 0; e < layer.E(); ++e) {
    for (int64_t row = layer.rows()[e]; row < layer.rows()[e + 1]; ++row) {
      for (int64_t h = 0; h < H; ++h) {
        T g = dout.data<T>()[row * H + h];
        if (layer.epilogue == Epilogue::gelu) g *= vgelu_derivative(pre.data<T>()[row * H + h]);
        for (int64_t d = 0; d < D; ++d) {
          const int64_t i = (e * H + h) * D + d;
          if (dx) dx[row * D + d] += g * layer.weight.data<T>()[i];
          if (dweight) dweight[i] += g * layer.x.data<T>()[row * D + d];
        }
        if (dbias) dbias[e * H + h] += g;
      }
    }
  }
}

template <class T>
Tensor run_cuda(Tape& tape, const Layer& layer, int64_t row_alignment) {
  const auto& [x, weight, bias, given_offsets, epilogue] = layer;
  const bool gelu = epilogue == Epilogue::gelu;
  const auto kernel = grouped_cuda::kernel_of<T>(weight, row_alignment);
  const grouped_cuda::Offsets offsets =
      grouped_cuda::offsets_for(kName, given_offsets, kernel, layer.P(), x.device());
  const Tensor weight_used = grouped_cuda::rounded<T>(weight);
  const Tensor out({layer.P(), layer.H()}, x.dtype(), x.device());
  const Tensor slope = gelu && tape.wants_any({x, weight, bias})
                           ? Tensor(out.shape(), out.dtype(), out.device())
                           : Tensor();
  const auto activation = gelu ? cuda::GroupedActivation::gelu : cuda::GroupedActivation::none;
  cuda::grouped_forward(grouped_cuda::layer_of(offsets, kernel, weight, layer.P()),
                        x.device_data<T>(), weight_used.device_data<T>(),
                        grouped_cuda::bias_of(bias), activation, out.device_data<T>(),
                        slope.defined() ? slope.device_data<T>() : nullptr, stream_of(x));
  tape.record(
      kName, {x, weight, bias}, out,
      [layer, kernel, offsets, weight_used, slope](Tape& walk, const Tensor& dout) {
        const auto of_cuda = grouped_cuda::layer_of(offsets, kernel, layer.weight, layer.P());
        if (slope.defined()) {  // dout is this call's own
          cuda::grouped_backward_gelu(of_cuda, dout.device_data<T>(), slope.device_data<T>(),
                                      dout.device_data<T>(), stream_of(dout));
        }
        grouped_cuda::backward_x<T>(walk, of_cuda, dout, weight_used, layer.x);
        grouped_cuda::backward_parameters<T>(walk, of_cuda, dout, layer.x, layer.weight,
                                             layer.bias);
      });
  return out;
}

template <class T>
Tensor run_cpu(Tape& tape, const Layer& layer) {
  const auto& [x, weight, bias, offsets, epilogue] = layer;
  const Tensor out({layer.P(), layer.H()}, x.dtype());
  Tensor derivative;
  if (epilogue == Epilogue::gelu && tape.wants_any({x, weight, bias})) {
    derivative = Tensor(out.shape(), out.dtype());
  }
  forward<T>(layer, out, derivative);
  tape.record(kName, {x, weight, bias}, out, [layer, derivative](Tape& walk, const Tensor& dout) {
    backward<T>(walk, layer, derivative, dout);
  });
  return out;
}

}  // namespace

Tensor grouped_linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const Tensor& expert_offsets, Epilogue epilogue, int64_t row_alignment) {
  const Layer layer{x, weight, bias, expert_offsets, epilogue};
  check(layer);
  return dispatch(
      kName, x, [&]<class T>(T) -> Tensor { return run_cpu<T>(tape, layer); },
      [&]<class T>(T) -> Tensor { return run_cuda<T>(tape, layer, row_alignment); });
}

int64_t expert_row_alignment(const Tensor& x, int64_t H, int64_t D) {
  if (!x.device().is_cuda()) return 1;
  return dispatch(
      kName, x, [](auto) -> int64_t { return 1; },
      [&]<class T>(T) -> int64_t {
        return cuda::group_rows(
            cuda::choose_grouped_kernel(x.device().index, cuda::kElementType<T>, H, D));
      });
}

Tensor grouped_linear_reference(Tape& tape, const Tensor& x, const Tensor& weight,
                                const Tensor& bias, const Tensor& expert_offsets,
                                Epilogue epilogue) {
  const Layer layer{x, weight, bias, expert_offsets, epilogue};
  check(layer);
  const Tensor out({layer.P(), layer.H()}, x.dtype()), pre(out.shape(), x.dtype());
  dispatch_float(kName, x.dtype(), [&]<class T>(T) { forward_reference<T>(layer, pre, out); });
  tape.record(kName, {x, weight, bias}, out, [layer, pre](Tape& walk, const Tensor& dout) {
    dispatch_float(kName, dout.dtype(),
                   [&]<class T>(T) { backward_reference<T>(walk, layer, pre, dout); });
  });
  return out;
}

}  // namespace offshoot
