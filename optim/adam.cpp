#include "optim/adam.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cuda/adam.h"
#include "engine/error.h"
#include "engine/parallel.h"
#include "optim/chunks.h"
#include "optim/guard.h"

namespace offshoot {
namespace {

constexpr int64_t kChunk = 4096;  // elements of one task on the CPU

}  // namespace

// Some elements of one row, with what the row's step count and the rate come to.
struct Adam::Chunk {
  DType dtype;
  std::byte *value, *grad, *exp_avg, *exp_avg_sq;
  int64_t count;
  double step_size;  // rate / (1 - beta1^t)
  double sqrt_bias;  // sqrt(1 - beta2^t)
  double keep;       // decoupled: 1 - rate * decay
  double l2;         // coupled: decay
};

namespace {

template <class T, class Chunk>
void update_chunk(const Chunk& chunk, const AdamOptions& options) {
  T* w = reinterpret_cast<T*>(chunk.value);
  const T* grad = reinterpret_cast<const T*>(chunk.grad);
  T* m = reinterpret_cast<T*>(chunk.exp_avg);
  T* v = reinterpret_cast<T*>(chunk.exp_avg_sq);
  const T beta1 = static_cast<T>(options.beta1), beta2 = static_cast<T>(options.beta2);
  const T eps = static_cast<T>(options.eps);
  const T step_size = static_cast<T>(chunk.step_size), keep = static_cast<T>(chunk.keep);
  const T l2 = static_cast<T>(chunk.l2), scale = static_cast<T>(1 / chunk.sqrt_bias);
  const T rest1 = static_cast<T>(1 - options.beta1), rest2 = static_cast<T>(1 - options.beta2);
#pragma GCC ivdep
  for (int64_t i = 0; i < chunk.count; ++i) {
    const T decayed = w[i] * keep;
    const T g = grad[i] + l2 * w[i];
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    w[i] = decayed - step_size * m[i] / (std::sqrt(v[i]) * scale + eps);
  }
}

}  // namespace

Adam::Adam(std::vector<ParameterGroup> groups, const AdamOptions& options, bool decoupled_decay)
    : Optimizer(std::move(groups)), options_(options), decoupled_decay_(decoupled_decay) {
  for (const double beta : {options.beta1, options.beta2}) {
    if (!(beta >= 0 && beta < 1)) fail("adam", "beta: got {}, expected in [0, 1)", beta);
  }
  if (!(options.eps > 0)) fail("adam", "eps: got {}, expected above 0", options.eps);
  const NewRow moment = options.newborn == NewbornState::inherit ? NewRow::copy : NewRow::zero;
  const NewRow count = options.newborn == NewbornState::fresh ? NewRow::zero : NewRow::copy;
  for (const ParameterGroup& group : this->groups()) {
    for (Parameter* p : group.parameters) {
      const Shape& shape = p->value().shape();
      const Shape rows = p->growable() ? Shape{shape[0]} : Shape{1};
      moments_.push_back({p, group.rate_factor, group.weight_decay,
                          StateTensor(*p, "exp_avg", shape, p->dtype(), moment, device()),
                          StateTensor(*p, "exp_avg_sq", shape, p->dtype(), moment, device()),
                          StateTensor(*p, "step", rows, DType::i64, count, Device{})});
    }
  }
}

void Adam::each_state(const StateVisitor& visit) const {
  for (const Moments& moments : moments_) {
    visit(moments.parameter->name() + "/exp_avg", moments.exp_avg.tensor());
    visit(moments.parameter->name() + "/exp_avg_sq", moments.exp_avg_sq.tensor());
    visit(moments.parameter->name() + "/step", moments.step.tensor());
  }
}

// Counts the step on the way.
std::vector<Adam::Chunk> Adam::chunks(double rate, int64_t chunk_elements) const {
  std::vector<Chunk> all;
  for (const Moments& moments : moments_) {
    Parameter& parameter = *moments.parameter;
    if (!parameter.has_grad()) continue;
    const Tensor value = parameter.value(), grad = parameter.grad();
    const auto steps = moments.step.tensor().elements<int64_t>();
    const auto rows = static_cast<int64_t>(steps.size());
    const int64_t row_elements = value.size() / rows, width = element_bytes(value.dtype());
    const double own_rate = rate * moments.rate_factor;
    for (int64_t row = 0; row < rows; ++row) {
      const auto t = static_cast<double>(++steps[static_cast<size_t>(row)]);
      Chunk chunk{};
      chunk.dtype = value.dtype();
      chunk.step_size = own_rate / (1 - std::pow(options_.beta1, t));
      chunk.sqrt_bias = std::sqrt(1 - std::pow(options_.beta2, t));
      chunk.keep = decoupled_decay_ ? 1 - own_rate * moments.weight_decay : 1.0;
      chunk.l2 = decoupled_decay_ ? 0.0 : moments.weight_decay;
      each_chunk(row_elements, chunk_elements, [&](int64_t first, int64_t count) {
        const int64_t offset = (row * row_elements + first) * width;
        chunk.value = value.address() + offset;
        chunk.grad = grad.address() + offset;
        chunk.exp_avg = moments.exp_avg.tensor().address() + offset;
        chunk.exp_avg_sq = moments.exp_avg_sq.tensor().address() + offset;
        chunk.count = count;
        all.push_back(chunk);
      });
    }
  }
  return all;
}

void Adam::update(double rate, const Tensor& guard) {
  if constexpr (kHasCuda) {
    if (device().is_cuda()) {
      std::vector<cuda::AdamChunk> rows;
      for (const Chunk& chunk : chunks(rate, kDeviceChunk)) {
        const auto floats = [](std::byte* at) { return reinterpret_cast<float*>(at); };
        rows.push_back({floats(chunk.value), floats(chunk.grad), floats(chunk.exp_avg),
                        floats(chunk.exp_avg_sq), chunk.count, static_cast<float>(chunk.step_size),
                        static_cast<float>(1 / chunk.sqrt_bias), static_cast<float>(chunk.keep),
                        static_cast<float>(chunk.l2)});
      }
      const cuda::AdamCoefficients coefficients{
          static_cast<float>(options_.beta1), static_cast<float>(options_.beta2),
          static_cast<float>(1 - options_.beta1), static_cast<float>(1 - options_.beta2),
          static_cast<float>(options_.eps)};
      const ChunkTable<cuda::AdamChunk> table(rows, device());
      return cuda::adam(table.data(), table.count(), coefficients, device_guard(guard),
                        table.stream());
    }
  }
  const std::vector<Chunk> all = chunks(rate, kChunk);
  parallel_tasks(std::ssize(all), [&](int64_t i) {
    const Chunk& chunk = all[static_cast<size_t>(i)];
    if (chunk.dtype == DType::f32) {
      update_chunk<float>(chunk, options_);
    } else {
      update_chunk<double>(chunk, options_);
    }
  });
}

}  // namespace offshoot
