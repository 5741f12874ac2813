#include "optim/clip.h"

#include <cmath>
#include <limits>
#include <vector>

#include "cuda/clip.h"
#include "engine/error.h"
#include "optim/chunks.h"
#include "optim/guard.h"

namespace offshoot {
namespace {

// Of all parameters. Throws Error when they are not on one.
Device device_of(std::span<Parameter* const> parameters) {
  if (parameters.empty()) return {};
  const Device device = parameters.front()->value().device();
  for (const Parameter* parameter : parameters) {
    if (const Device its = parameter->value().device(); its != device) {
      fail("clip", "{}: got it on {}, expected {} as the first parameter", parameter->name(),
           to_string(its), to_string(device));
    }
  }
  return device;
}

double sum_of_squares(std::span<Parameter* const> parameters) {
  double squares = 0;
  for (const Parameter* parameter : parameters) {
    if (!parameter->has_grad()) continue;
    const Tensor grad = parameter->grad();
    dispatch_float("clip", grad.dtype(), [&]<class T>(T) {
      for (const T g : grad.elements<T>()) squares += static_cast<double>(g) * g;
    });
  }
  return squares;
}

// The gradients that there are, on a CUDA device.
template <class Chunk>
ChunkTable<Chunk> chunk_table(std::span<Parameter* const> parameters, Device device) {
  std::vector<Chunk> chunks;
  for (Parameter* parameter : parameters) {
    if (!parameter->has_grad()) continue;
    const Tensor grad = parameter->grad();
    each_chunk(grad.size(), kDeviceChunk, [&](int64_t first, int64_t count) {
      chunks.push_back({grad.device_data<float>() + first, count});
    });
  }
  return {chunks, device};
}

template <class Chunk>
Tensor norm_of(const ChunkTable<Chunk>& table, Device device, const Tensor& guard) {
  const Tensor norm({}, DType::f64, device), sums({table.count()}, DType::f64, device);
  cuda::gradient_norm(table.data(), table.count(), sums.device_data<double>(),
                      norm.device_data<double>(), device_guard(guard), table.stream());
  return norm;
}

}  // namespace

Tensor gradient_norm(std::span<Parameter* const> parameters) {
  const Device device = device_of(parameters);
  if constexpr (kHasCuda) {
    if (device.is_cuda()) {
      return norm_of(chunk_table<cuda::GradientChunk>(parameters, device), device, {});
    }
  }
  return Tensor::scalar(std::sqrt(sum_of_squares(parameters)), DType::f64);
}

Tensor clip_gradients(std::span<Parameter* const> parameters, double max_norm,
                      const Tensor& guard) {
  if (!(max_norm > 0)) fail("clip", "max_norm: got {}, expected above 0", max_norm);
  const Device device = device_of(parameters);
  check_guard("clip", guard, device);
  if constexpr (kHasCuda) {
    if (device.is_cuda()) {
      const auto table = chunk_table<cuda::GradientChunk>(parameters, device);
      const Tensor norm = norm_of(table, device, guard);
      cuda::clip_gradients(table.data(), table.count(), max_norm, norm.device_data<double>(),
                           table.stream());
      return norm;
    }
  }
  const double norm = allows(guard) ? std::sqrt(sum_of_squares(parameters))
                                    : std::numeric_limits<double>::quiet_NaN();
  if (!std::isfinite(norm)) fail("clip", "gradient norm: got {}, expected a finite number", norm);
  if (norm > max_norm) {
    for (Parameter* parameter : parameters) {
      if (!parameter->has_grad()) continue;
      const Tensor grad = parameter->gradient_slot().grad;
      dispatch_float("clip", grad.dtype(), [&]<class T>(T) {
        for (T& g : grad.elements<T>()) g *= static_cast<T>(max_norm / norm);
      });
    }
  }
  return Tensor::scalar(norm, DType::f64);
}

}  // namespace offshoot
