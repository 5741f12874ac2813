#include "tools/hmm/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include "engine/error.h"
#include "models/layer_record.h"
#include "ops/balance.h"
#include "ops/binary.h"
#include "ops/cross_entropy.h"
#include "ops/orthogonality_loss.h"
#include "ops/router_losses.h"
#include "ops/unary.h"
#include "optim/clip.h"

namespace offshoot {
namespace {

// Dropout masks of a probe that must not be the training pass'.
constexpr int64_t kFreshMicroBatch = 1;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

AdamOptions adam_options(const TrainerOptions& options) {
  AdamOptions adam = options.adam;
  adam.newborn = newborn_of(options.policy);
  return adam;
}

Scope scope_of(const TrainerOptions& options) {
  const DType parameters = options.precision == DType::f64 ? DType::f64 : DType::f32;
  return {"", parameters, options.seed, options.device};
}

GincTransformerOptions model_options(const TrainerOptions& options) {
  GincTransformerOptions model = options.model;
  if (options.precision == DType::bf16) model.activations = DType::bf16;
  return model;
}

}  // namespace

// Keeps what the step reports, and builds the auxiliary losses while the tape is open.
class Trainer::RoutingSink final : public LayerSink {
 public:
  // `policy`: who wants to see the records; may be null.
  RoutingSink(Tape& tape, const RouterLosses& losses, GrowthPolicy* policy)
      : tape_(tape), losses_(losses), policy_(policy) {}

  void add(const LayerRecord& record) override {
    if (policy_ != nullptr) policy_->see(layers_.size(), record);
    const Routing& routing = record.routed.routing;
    routing.tokens_per_expert.begin_host_copy();
    layers_.push_back({routing.tokens(), routing.tokens_per_expert});
    add_losses(record);
  }

  // Of each layer and expert. On CUDA the counts are there when the step is done.
  std::vector<std::vector<int64_t>> tokens() const {
    std::vector<std::vector<int64_t>> all;
    for (const Layer& layer : layers_) {
      const Tensor counts = layer.tokens_per_expert.host_copy();
      const auto tokens = counts.elements<int64_t>();
      all.emplace_back(tokens.begin(), tokens.end());
    }
    return all;
  }
  double active_experts() const {
    if (layers_.empty()) return 0;
    double active = 0;
    for (const Layer& layer : layers_) {
      const Tensor counts = layer.tokens_per_expert.host_copy();
      const auto tokens = counts.elements<int64_t>();
      const int64_t pairs = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
      active += static_cast<double>(pairs) / static_cast<double>(layer.tokens);
    }
    return active / static_cast<double>(layers_.size());
  }
  const Tensor& auxiliary() const { return auxiliary_; }  // undefined: none

 private:
  struct Layer {
    int64_t tokens;
    Tensor tokens_per_expert;
  };

  void add_losses(const LayerRecord& record) {
    const auto& [logits, probs, routing] = record.routed;
    const RouterLosses& w = losses_;
    if (w.balance > 0) collect(load_balance_loss(tape_, probs, routing), w.balance);
    if (w.z > 0) collect(router_z_loss(tape_, logits), w.z);
    if (w.importance > 0) collect(importance_loss(tape_, probs), w.importance);
    if (w.load > 0) collect(load_loss(tape_, logits, routing, w.load_sigma), w.load);
    if (w.variance > 0) collect(variance_loss(tape_, probs), w.variance);
    if (w.orthogonality > 0) {
      collect(orthogonality_loss(tape_, record.expert_outputs, routing), w.orthogonality);
    }
    if (w.diversity > 0) {
      const Tensor& rows = tape_.watch(*record.layer.router().expert_rows());
      collect(diversity_loss(tape_, rows), w.diversity);
    }
  }

  void collect(const Tensor& loss, double weight) {
    const Tensor weighted = scale(tape_, loss, weight);
    auxiliary_ = auxiliary_.defined() ? offshoot::add(tape_, auxiliary_, weighted) : weighted;
  }

  Tape& tape_;
  const RouterLosses& losses_;
  GrowthPolicy* policy_;
  std::vector<Layer> layers_;
  Tensor auxiliary_;
};

Trainer::Trainer(const TrainerOptions& options)
    : options_(options), model_(scope_of(options), model_options(options)) {
  optimizer_ = std::make_unique<AdamW>(decay_matrices_only(model_, options.weight_decay),
                                       adam_options(options));
  policy_ = make_growth_policy(model_.moe_layers(), options.policy);
}

void Trainer::seek(int64_t steps_done) {
  steps_done_ = steps_done;
  if (policy_) policy_->seek(steps_done);
}

StepResult Trainer::step(const Tensor& tokens, double rate) {
  const int64_t step = steps_done_;
  const bool monitored = policy_ && policy_->monitors(step);
  const auto [inputs, targets] = inputs_and_targets(tokens);
  StepResult result{};
  result.rate = rate;
  optimizer_->zero_grad();

  Tape tape;
  RoutingSink sink(tape, options_.losses, monitored ? policy_.get() : nullptr);
  Context context{tape, true, {options_.seed, step, 0}, {}, &sink};
  const Tensor task = cross_entropy(tape, model_.forward(context, inputs), targets);
  // A CUDA device is asked when it has all of the step's work, or its backward pass where growth is
  // to be decided.
  const bool on_device = options_.device.is_cuda();
  task.begin_host_copy();
  if (!on_device) result.loss = finite_loss(task);
  Tensor total = task;
  if (sink.auxiliary().defined()) {
    sink.auxiliary().begin_host_copy();
    total = add(tape, task, sink.auxiliary());
  }
  tape.backward(total);
  if (options_.gradient_noise > 0) add_gradient_noise();
  if (on_device && monitored) result.loss = finite_loss(task);

  Tensor own_loss;  // of the policy
  if (policy_) {
    if (monitored) {
      const auto start = std::chrono::steady_clock::now();
      result.events =
          policy_->grow(step, sink.tokens(), result.loss,
                        [&, &in = inputs, &out = targets](const auto& offsets, bool fresh_dropout) {
                          return probe(in, out, offsets, fresh_dropout);
                        });
      result.monitor_seconds = seconds_since(start);
      result.growth_times = policy_->times();
    }
    own_loss = policy_->auxiliary_backward(step);
    if (own_loss.defined()) own_loss.begin_host_copy();
  }
  Tensor guard = task;  // where it is not finite nothing changes
  if (options_.clip > 0) {
    guard = clip_gradients(parameters(model_), options_.clip, task);
    guard.begin_host_copy();
  }
  optimizer_->step(rate, guard);

  if (on_device) {
    result.loss = finite_loss(task);
    if (options_.clip > 0) check_norm(guard.host_copy().item());
  }
  ++steps_done_;
  for (const Tensor& loss : {sink.auxiliary(), own_loss}) {
    if (loss.defined()) result.auxiliary_loss += loss.host_copy().item();
  }
  result.active_experts = sink.active_experts();
  for (const MoeLayer* layer : model_.moe_layers()) result.experts.push_back(layer->experts());
  return result;
}

// Counter-based: the same in a resumed run.
void Trainer::add_gradient_noise() {
  for (Parameter* parameter : parameters(model_)) {
    if (!parameter->has_grad()) continue;
    const Tensor grad = parameter->grad(), noisy = grad.to(Device{});
    Random random = Scope{"", grad.dtype(), options_.seed}.random(
        fmt::format("{}.noise.{}", parameter->name(), steps_done_));
    dispatch_float("train", noisy.dtype(), [&]<class T>(T) {
      double squares = 0;
      for (const T g : noisy.elements<T>()) squares += static_cast<double>(g) * g;
      const double deviation =
          options_.gradient_noise * std::sqrt(squares / static_cast<double>(noisy.size()));
      for (T& g : noisy.elements<T>()) g += static_cast<T>(deviation * random.normal());
    });
    if (grad.device().is_cuda()) copy_elements(noisy, grad);
  }
}

double Trainer::finite_loss(const Tensor& task) const {
  const double loss = task.host_copy().item();
  if (!std::isfinite(loss)) {
    fail("train", "step {}: got loss {}, expected a finite number", steps_done_, loss);
  }
  return loss;
}

void Trainer::check_norm(double norm) const {
  if (!std::isfinite(norm)) {
    fail("train", "step {}: got gradient norm {}, expected a finite number", steps_done_, norm);
  }
}

double Trainer::probe(const Tensor& inputs, const Tensor& targets,
                      const std::map<std::string, std::vector<RowOffset>>& offsets,
                      bool fresh_dropout) {
  Tape tape = Tape::none();
  Context context{tape,
                  true,
                  {options_.seed, steps_done_, fresh_dropout ? kFreshMicroBatch : 0},
                  offsets,
                  nullptr};
  return cross_entropy(tape, model_.forward(context, inputs), targets).item();
}

std::pair<Tensor, Tensor> inputs_and_targets(const Tensor& tokens) {
  if (tokens.rank() != 2 || tokens.dim(1) < 2) {
    fail("train", "tokens: got shape {}, expected [B, T + 1]", to_string(tokens.shape()));
  }
  const int64_t B = tokens.dim(0), T = tokens.dim(1) - 1;
  Tensor inputs({B, T}, DType::i32), targets({B, T}, DType::i32);
  for (int64_t b = 0; b < B; ++b) {
    const int32_t* row = tokens.data<int32_t>() + b * (T + 1);
    std::copy_n(row, T, inputs.data<int32_t>() + b * T);
    std::copy_n(row + 1, T, targets.data<int32_t>() + b * T);
  }
  return {inputs, targets};
}

}  // namespace offshoot
