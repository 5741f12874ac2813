// What a trained model does on the test set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mass/specialization.h"
#include "models/ginc_transformer.h"
#include "tools/hmm/corpus.h"
#include "tools/hmm/prompts.h"

namespace offshoot {

// Mean next-token loss, nats, over positions 1 .. length - 1 of every document.
double test_loss(GincTransformer& model, const Documents& documents);

struct LayerEvaluation {
  std::string name;
  std::vector<int64_t> expert_ids;  // by slot
  std::vector<int64_t> tokens;      // by slot: tokens that kept the expert
  double active_experts = 0;        // mean over tokens
  Divergence entity{};              // by the input token's labels
  Divergence property{};
  std::vector<std::vector<double>> by_entity;    // mean combine weight [entity][slot]
  std::vector<std::vector<double>> by_property;  // [property][slot]

  int64_t experts() const { return static_cast<int64_t>(expert_ids.size()); }
};

struct Evaluation {
  double loss = 0;
  int64_t tokens = 0;
  std::vector<LayerEvaluation> layers;  // those with experts
};

// The loss and, layer by layer, how experts specialise on the entity and the property of the input
// token. Specialization's sums run over the same tokens as the loss.
Evaluation evaluate(GincTransformer& model, const Corpus& corpus);

// Predicts by the largest logit at the last position.
PromptPredictor prompt_predictor(GincTransformer& model);

}  // namespace offshoot
