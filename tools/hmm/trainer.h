// One training run of the synthetic experiment, step by step: model, optimizer and expert growth.
// Knows no files, no terminal and no data source.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mass/policies.h"
#include "models/ginc_transformer.h"
#include "optim/adam.h"
#include "optim/schedule.h"

namespace offshoot {

// Weights of the losses that every router can be given (ops/balance.h, ops/router_losses.h,
// ops/orthogonality_loss.h); 0: none.
struct RouterLosses {
  double balance = 0;
  double z = 0;
  double importance = 0;
  double load = 0;
  double load_sigma = 0.1;  // of the load's smooth count, in logits
  double diversity = 0;
  double orthogonality = 0;
  double variance = 0;
};

struct TrainerOptions {
  GincTransformerOptions model = {};  // without `moe`: dense
  // f32 or, on the CPU, f64; bf16 on CUDA: of activations, while parameters, gates, losses and the
  // optimizer stay f32.
  DType precision = DType::f32;
  Device device = {};
  uint64_t seed = 0;  // weights, dropout
  Schedule schedule = {};
  AdamOptions adam = {};       // `newborn` is the policy's
  double weight_decay = 0.01;  // on tensors of two and more axes
  double clip = 0.0;           // global norm; 0: none
  RouterLosses losses = {};
  PolicyOptions policy = {};
  // Normal noise that is added to every gradient before anyone looks at it, in standard deviations
  // of the tensor's own elements about zero; 0: none.
  double gradient_noise = 0.0;
};

struct StepResult {
  double loss;                   // of the task alone
  double auxiliary_loss;         // weighted, L_red included
  double rate;                   // learning rate
  double active_experts;         // mean over tokens and layers; 0 for dense
  std::vector<int64_t> experts;  // by layer, after the step
  std::vector<GrowthEvent> events;
  double monitor_seconds;  // of the policy's grow()
  GrowthPolicy::Times growth_times;
};

class Trainer {
 public:
  explicit Trainer(const TrainerOptions& options);

  const TrainerOptions& options() const { return options_; }
  GincTransformer& model() { return model_; }
  AdamW& optimizer() { return *optimizer_; }
  GrowthPolicy* policy() { return policy_.get(); }  // null: the pools stay as they are
  int64_t steps_done() const { return steps_done_; }
  // For a resumed run: the next step's number. Monitoring's windows are there afterwards if that
  // step wants them.
  void seek(int64_t steps_done);

  // One optimizer step on tokens i32 [B, T + 1] on the CPU: the first T are inputs, the last T
  // targets. Throws Error when the loss, or with clipping the gradient norm, is not finite;
  // then no parameter has changed in this step.
  // On CUDA the host waits for nothing but the step's numbers at its end, and in the expansion
  // phase for what it watches.
  StepResult step(const Tensor& tokens) { return step(tokens, options_.schedule.at(steps_done_)); }
  // The same with a learning rate of the caller's.
  StepResult step(const Tensor& tokens, double rate);

 private:
  class RoutingSink;
  double finite_loss(const Tensor& task) const;
  void check_norm(double norm) const;
  void add_gradient_noise();
  double probe(const Tensor& inputs, const Tensor& targets,
               const std::map<std::string, std::vector<RowOffset>>& offsets, bool fresh_dropout);

  TrainerOptions options_;
  GincTransformer model_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<GrowthPolicy> policy_;
  int64_t steps_done_ = 0;
};

// Inputs [B, T] and targets [B, T] of tokens i32 [B, T + 1].
std::pair<Tensor, Tensor> inputs_and_targets(const Tensor& tokens);

}  // namespace offshoot
