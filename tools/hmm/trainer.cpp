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
  if (options.method == Method::mass) adam.newborn = options.mass.newborn;
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

std::string_view to_string(Method method) {
  switch (method) {
    case Method::mass:
      return "mass";
    case Method::topk:
      return "topk";
    case Method::topp:
      return "topp";
    case Method::dense:
      return "dense";
  }
  return "unknown";
}

Method parse_method(std::string_view text) {
  for (const auto method : {Method::mass, Method::topk, Method::topp, Method::dense}) {
    if (text == to_string(method)) return method;
  }
  fail("method", "got {}, expected mass, topk, topp or dense", text);
}

// Keeps what the step reports, and builds the auxiliary losses while the tape is open.
class Trainer::RoutingSink final : public LayerSink {
 public:
  RoutingSink(Tape& tape, const TrainerOptions& options) : tape_(tape), options_(options) {}

  void add(const LayerRecord& record) override {
    const Routing& routing = record.routed.routing;
    routing.tokens_per_expert.begin_host_copy();
    layers_.push_back({routing.tokens(), routing.tokens_per_expert});
    if (options_.balance_weight > 0) {
      collect(load_balance_loss(tape_, record.routed.probs, routing), options_.balance_weight);
    }
    if (options_.z_weight > 0) {
      collect(router_z_loss(tape_, record.routed.logits), options_.z_weight);
    }
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

  void collect(const Tensor& loss, double weight) {
    const Tensor weighted = scale(tape_, loss, weight);
    auxiliary_ = auxiliary_.defined() ? offshoot::add(tape_, auxiliary_, weighted) : weighted;
  }

  Tape& tape_;
  const TrainerOptions& options_;
  std::vector<Layer> layers_;
  Tensor auxiliary_;
};

Trainer::Trainer(const TrainerOptions& options)
    : options_(options), model_(scope_of(options), model_options(options)) {
  optimizer_ = std::make_unique<AdamW>(decay_matrices_only(model_, options.weight_decay),
                                       adam_options(options));
  if (options.method == Method::mass) {
    controller_ = std::make_unique<MassController>(model_.moe_layers(), options.mass);
  }
}

void Trainer::seek(int64_t steps_done) {
  steps_done_ = steps_done;
  // Windows begin with the first observation.
  if (controller_ && controller_->monitors(steps_done - 1)) controller_->prepare(steps_done);
}

StepResult Trainer::step(const Tensor& tokens, double rate) {
  const int64_t step = steps_done_;
  const bool monitored = controller_ && controller_->monitors(step);
  const auto [inputs, targets] = inputs_and_targets(tokens);
  StepResult result{};
  result.rate = rate;
  optimizer_->zero_grad();

  Tape tape;
  RoutingSink sink(tape, options_);
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
  if (on_device && monitored) result.loss = finite_loss(task);

  Tensor redundancy;
  if (controller_) {
    if (monitored) {
      const auto start = std::chrono::steady_clock::now();
      result.events = controller_->grow(
          step, sink.tokens(), result.loss,
          [&, &in = inputs, &out = targets](const auto& offsets, bool fresh_dropout) {
            return probe(in, out, offsets, fresh_dropout);
          });
      result.monitor_seconds = seconds_since(start);
    }
    redundancy = controller_->redundancy_backward(step);
    redundancy.begin_host_copy();
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
  for (const Tensor& loss : {sink.auxiliary(), redundancy}) {
    if (loss.defined()) result.auxiliary_loss += loss.host_copy().item();
  }
  result.active_experts = sink.active_experts();
  for (const MoeLayer* layer : model_.moe_layers()) result.experts.push_back(layer->experts());
  return result;
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
