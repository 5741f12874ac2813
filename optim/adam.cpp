#include "optim/adam.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/error.h"
#include "engine/parallel.h"

namespace offshoot {
namespace {

constexpr int64_t kChunk = 4096;  // elements of one task

// Some elements of one row, with what the row's step count and the rate come to.
struct Chunk {
  std::byte *value, *grad, *exp_avg, *exp_avg_sq;
  int64_t count;
  double step_size;  // rate / (1 - beta1^t)
  double sqrt_bias;  // sqrt(1 - beta2^t)
  double keep;       // decoupled: 1 - rate * decay
  double l2;         // coupled: decay
};

template <class T>
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
                          StateTensor(*p, "exp_avg", shape, p->dtype(), moment),
                          StateTensor(*p, "exp_avg_sq", shape, p->dtype(), moment),
                          StateTensor(*p, "step", rows, DType::i64, count)});
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

void Adam::update(double rate) {
  std::vector<Chunk> chunks, chunks_f64;
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
      chunk.step_size = own_rate / (1 - std::pow(options_.beta1, t));
      chunk.sqrt_bias = std::sqrt(1 - std::pow(options_.beta2, t));
      chunk.keep = decoupled_decay_ ? 1 - own_rate * moments.weight_decay : 1.0;
      chunk.l2 = decoupled_decay_ ? 0.0 : moments.weight_decay;
      for (int64_t first = 0; first < row_elements; first += kChunk) {
        const int64_t offset = (row * row_elements + first) * width;
        chunk.value = value.raw() + offset;
        chunk.grad = grad.raw() + offset;
        chunk.exp_avg = moments.exp_avg.tensor().raw() + offset;
        chunk.exp_avg_sq = moments.exp_avg_sq.tensor().raw() + offset;
        chunk.count = std::min(kChunk, row_elements - first);
        (value.dtype() == DType::f32 ? chunks : chunks_f64).push_back(chunk);
      }
    }
  }
  parallel_tasks(static_cast<int64_t>(chunks.size()),
                 [&](int64_t i) { update_chunk<float>(chunks[static_cast<size_t>(i)], options_); });
  parallel_tasks(static_cast<int64_t>(chunks_f64.size()), [&](int64_t i) {
    update_chunk<double>(chunks_f64[static_cast<size_t>(i)], options_);
  });
}

}  // namespace offshoot
