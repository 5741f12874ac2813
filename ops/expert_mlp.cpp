#include "ops/expert_mlp.h"

#include "ops/grouped_cuda.h"
#include "ops/grouped_gemm.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "expert_mlp";

struct Mlp {
  Tensor x, fc1_weight, fc1_bias, fc2_weight, fc2_bias;

  int64_t R() const { return x.dim(0); }
  int64_t E() const { return fc1_weight.dim(0); }
  int64_t H() const { return fc1_weight.dim(1); }
  int64_t O() const { return fc2_weight.dim(1); }
};

void check_layer(std::string_view weight_name, const Tensor& weight, std::string_view bias_name,
                 const Tensor& bias, const Shape& shape, const Tensor& x) {
  check_parameter(kName, weight_name, weight, x);
  check_shape(kName, weight_name, weight, shape);
  if (!bias.defined()) return;
  check_parameter(kName, bias_name, bias, x);
  check_shape(kName, bias_name, bias, {shape[0], shape[1]});
}

void check(const Mlp& mlp, const Routing& routing) {
  check_float(kName, "x", mlp.x);
  check_rank(kName, "x", mlp.x, 2);
  check_rows(kName, "x", mlp.x);
  check_shape(kName, "x", mlp.x, {routing.rows(), mlp.x.last_dim()});
  check_device(kName, "x", mlp.x, routing.expert_offsets.device());
  check_rank(kName, "fc1_weight", mlp.fc1_weight, 3);
  check_rank(kName, "fc2_weight", mlp.fc2_weight, 3);
  const int64_t E = routing.experts();
  check_layer("fc1_weight", mlp.fc1_weight, "fc1_bias", mlp.fc1_bias,
              {E, mlp.H(), mlp.x.last_dim()}, mlp.x);
  check_layer("fc2_weight", mlp.fc2_weight, "fc2_bias", mlp.fc2_bias, {E, mlp.O(), mlp.H()}, mlp.x);
}

// What backward needs, beside the inputs.
struct Saved {
  grouped_cuda::Offsets offsets;
  cuda::GroupedKernel kernel1, kernel2;
  Tensor weight1, weight2;  // as rounded
  Tensor hidden, slope;

  cuda::GroupedLayer layer1(const Mlp& mlp) const {
    return grouped_cuda::layer_of(offsets, kernel1, mlp.fc1_weight, mlp.R());
  }
  cuda::GroupedLayer layer2(const Mlp& mlp) const {
    return grouped_cuda::layer_of(offsets, kernel2, mlp.fc2_weight, mlp.R());
  }
};

template <class T>
void forward(const Mlp& mlp, const Saved& saved, const Tensor& out) {
  using enum cuda::GroupedActivation;
  const cuda::Stream stream = stream_of(mlp.x);
  cuda::grouped_forward(saved.layer1(mlp), mlp.x.device_data<T>(), saved.weight1.device_data<T>(),
                        grouped_cuda::bias_of(mlp.fc1_bias), gelu, saved.hidden.device_data<T>(),
                        saved.slope.defined() ? saved.slope.device_data<T>() : nullptr, stream);
  cuda::grouped_forward<T>(saved.layer2(mlp), saved.hidden.device_data<T>(),
                           saved.weight2.device_data<T>(), grouped_cuda::bias_of(mlp.fc2_bias),
                           none, out.device_data<T>(), nullptr, stream);
}

template <class T>
void backward(Tape& tape, const Mlp& mlp, const Saved& saved, const Tensor& dout) {
  const cuda::GroupedLayer layer1 = saved.layer1(mlp), layer2 = saved.layer2(mlp);
  grouped_cuda::backward_parameters<T>(tape, layer2, dout, saved.hidden, mlp.fc2_weight,
                                       mlp.fc2_bias);
  const Tensor dpre(saved.hidden.shape(), saved.hidden.dtype(), saved.hidden.device());
  cuda::grouped_backward_x_gelu(layer2, dout.device_data<T>(), saved.weight2.device_data<T>(),
                                saved.slope.device_data<T>(), dpre.device_data<T>(),
                                stream_of(dout));
  grouped_cuda::backward_parameters<T>(tape, layer1, dpre, mlp.x, mlp.fc1_weight, mlp.fc1_bias);
  grouped_cuda::backward_x<T>(tape, layer1, dpre, saved.weight1, mlp.x);
}

template <class T>
Tensor run(Tape& tape, const Mlp& mlp, const Routing& routing) {
  const Device device = mlp.x.device();
  Saved saved;
  saved.kernel1 = grouped_cuda::kernel_of<T>(mlp.fc1_weight, routing.row_alignment);
  saved.kernel2 = grouped_cuda::kernel_of<T>(mlp.fc2_weight, routing.row_alignment);
  const bool by_wgmma =
      saved.kernel1 == cuda::GroupedKernel::wgmma && saved.kernel2 == cuda::GroupedKernel::wgmma;
  saved.offsets = grouped_cuda::offsets_for(
      kName, routing.expert_offsets,
      by_wgmma ? cuda::GroupedKernel::wgmma : cuda::GroupedKernel::loop, mlp.R(), device);
  saved.weight1 = grouped_cuda::rounded<T>(mlp.fc1_weight);
  saved.weight2 = grouped_cuda::rounded<T>(mlp.fc2_weight);
  saved.hidden = Tensor({mlp.R(), mlp.H()}, mlp.x.dtype(), device);
  if (tape.wants_any({mlp.x, mlp.fc1_weight, mlp.fc1_bias, mlp.fc2_weight, mlp.fc2_bias})) {
    saved.slope = Tensor(saved.hidden.shape(), saved.hidden.dtype(), device);
  }
  const Tensor out({mlp.R(), mlp.O()}, mlp.x.dtype(), device);
  forward<T>(mlp, saved, out);
  tape.record(
      kName, {mlp.x, mlp.fc1_weight, mlp.fc1_bias, mlp.fc2_weight, mlp.fc2_bias}, out,
      [mlp, saved](Tape& walk, const Tensor& dout) { backward<T>(walk, mlp, saved, dout); });
  return out;
}

}  // namespace

Tensor expert_mlp(Tape& tape, const Tensor& x, const Tensor& fc1_weight, const Tensor& fc1_bias,
                  const Tensor& fc2_weight, const Tensor& fc2_bias, const Routing& routing) {
  const Mlp mlp{x, fc1_weight, fc1_bias, fc2_weight, fc2_bias};
  check(mlp, routing);
  return dispatch(
      kName, x,
      [&](auto) -> Tensor {
        const Tensor& offsets = routing.expert_offsets;
        const Tensor hidden =
            grouped_linear(tape, x, fc1_weight, fc1_bias, offsets, Epilogue::gelu);
        return grouped_linear(tape, hidden, fc2_weight, fc2_bias, offsets, Epilogue::none);
      },
      [&]<class T>(T) -> Tensor { return run<T>(tape, mlp, routing); });
}

}  // namespace offshoot
