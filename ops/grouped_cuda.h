// Grouped linear layers on CUDA: what ops/grouped_gemm.cpp and ops/expert_mlp.cpp hand to
// cuda/grouped_gemm.h. Internal to them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "cuda/elements.h"
#include "cuda/grouped_gemm.h"
#include "engine/tape.h"
#include "ops/op.h"

namespace offshoot::grouped_cuda {

// Which rows are whose. `given` may be on the CPU, too.
struct Offsets {
  Tensor device;
  Tensor host;  // undefined where no kernel asks for it

  const int64_t* host_data() const { return host.defined() ? host.data<int64_t>() : nullptr; }
};

// A layer [E, H, D] over `capacity` rows of elements T.
template <class T>
cuda::GroupedKernel kernel_of(const Tensor& weight, int64_t row_alignment) {
  if (row_alignment % cuda::kWgmmaRows != 0) return cuda::GroupedKernel::loop;
  return cuda::choose_grouped_kernel(weight.device().index, cuda::kElementType<T>, weight.dim(1),
                                     weight.dim(2));
}

// The offsets on `device`, and on the host where `kernel` wants them, which may wait for the
// device. Throws Error when they are on the host and do not rise from 0 to at most `capacity`.
inline Offsets offsets_for(std::string_view op, const Tensor& offsets, cuda::GroupedKernel kernel,
                           int64_t capacity, Device device) {
  Offsets result{offsets.to(device), {}};
  const bool on_host = !offsets.device().is_cuda();
  if (!on_host && kernel == cuda::GroupedKernel::wgmma) return result;
  result.host = offsets.host_copy();
  const auto rows = result.host.elements<int64_t>();
  if (rows.front() != 0 || rows.back() > capacity || !std::ranges::is_sorted(rows)) {
    fail(op, "expert_offsets: got {} to {}, expected them to rise from 0 to at most {} rows",
         rows.front(), rows.back(), capacity);
  }
  return result;
}

inline cuda::GroupedLayer layer_of(const Offsets& offsets, cuda::GroupedKernel kernel,
                                   const Tensor& weight, int64_t capacity) {
  cuda::GroupedLayer layer;
  layer.rows.offsets = offsets.device.device_data<int64_t>();
  layer.rows.host_offsets = offsets.host_data();
  layer.rows.num_experts = weight.dim(0);
  layer.rows.capacity = capacity;
  layer.H = weight.dim(1);
  layer.D = weight.dim(2);
  layer.kernel = kernel;
  layer.device = weight.device().index;
  return layer;
}

// The weights that the products read: rounded to T where that is not float.
template <class T>
Tensor rounded(const Tensor& weight) {
  if constexpr (std::is_same_v<T, float>) return weight;
  const Tensor copy(weight.shape(), dtype_of<T>, weight.device());
  cuda::accumulate_elements(weight.device_data<float>(), copy.device_data<T>(), weight.size(), true,
                            stream_of(weight));
  return copy;
}

inline cuda::ConstElements bias_of(const Tensor& bias) {
  return bias.defined() ? cuda::ConstElements(bias.device_data<float>()) : cuda::ConstElements();
}

// Adds to the gradients of `weight` and `bias`, from d(pre) and the layer's input.
template <class T>
void backward_parameters(Tape& tape, const cuda::GroupedLayer& layer, const Tensor& dpre,
                         const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const cuda::Stream stream = stream_of(x);
  if (const GradSlot dweight = tape.slot(weight)) {
    cuda::grouped_backward_weight(layer, dpre.device_data<T>(), x.device_data<T>(),
                                  dweight.grad.device_data<float>(), dweight.overwrite, stream);
  }
  if (!bias.defined()) return;
  if (const GradSlot dbias = tape.slot(bias)) {
    cuda::grouped_backward_bias(layer, dpre.device_data<T>(), dbias.grad.device_data<float>(),
                                dbias.overwrite, stream);
  }
}

// dx (+)= dpre W, with the weights as rounded.
template <class T>
void backward_x(Tape& tape, const cuda::GroupedLayer& layer, const Tensor& dpre,
                const Tensor& weight, const Tensor& x) {
  if (const GradSlot dx = tape.slot(x)) {
    cuda::grouped_backward_x(layer, dpre.device_data<T>(), weight.device_data<T>(),
                             dx.grad.device_data<T>(), dx.overwrite, stream_of(x));
  }
}

}  // namespace offshoot::grouped_cuda
