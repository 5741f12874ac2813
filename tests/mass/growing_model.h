// A whole small model with everything that grows with its experts: weights, gradients, AdamW's
// moments, the detector's windows; and all of its bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "mass/controller.h"
#include "models/ginc_transformer.h"
#include "optim/adam.h"

namespace offshoot::testing {

// Every tensor's bytes, whether there is a gradient, ids; by name.
using Bits = std::map<std::string, std::vector<std::byte>>;

struct GrowingModelOptions {
  int64_t experts = 3;
  int64_t reserve = 12;  // rows that parameters have address space for
  DType dtype = DType::f64;
  RouteOptions route = {RouteOptions::Kind::top_p, 1, 0.6, CombineWeights::renormalised_if_shared};
  Decomposition decomposition = Decomposition::paper;
  NewbornState newborn = NewbornState::inherit;
};

// Two layers of experts, D = 4, H = 2.
class GrowingModel {
 public:
  explicit GrowingModel(const GrowingModelOptions& options = {});

  GincTransformer& model() { return model_; }
  MoeLayer& layer() { return *model_.moe_layers()[0]; }
  MassController& controller() { return controller_; }

  // Gradients of one batch on top of none; returns the logits.
  Tensor backward(uint64_t seed);
  // One training step that the detectors observe.
  void train(uint64_t seed);

  Bits bits();

 private:
  GincTransformer model_;
  AdamW optimizer_;
  MassController controller_;
  int64_t step_ = 0;
};

std::vector<std::byte> bytes_of(const Tensor& tensor);

// The names of what differs.
std::vector<std::string> differences(const Bits& a, const Bits& b);

}  // namespace offshoot::testing
