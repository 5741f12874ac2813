// One training step of a small GINC Transformer with top-2 experts, by PyTorch.
#include <gtest/gtest.h>

#include "engine/json.h"
#include "models/ginc_transformer.h"
#include "ops/cross_entropy.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::golden_error;
using testing::GoldenFile;

GincTransformerOptions options_of(const Json& config) {
  GincTransformerOptions options;
  options.vocabulary = config.get<int64_t>("vocabulary");
  options.context_length = config.get<int64_t>("seq");
  options.features = config.get<int64_t>("d_model");
  options.heads = config.get<int64_t>("heads");
  options.layers = config.get<int64_t>("layers");
  options.moe.emplace();
  options.moe->hidden = config.get<int64_t>("hidden");
  options.moe->experts = config.get<int64_t>("experts");
  options.moe->route = {RouteOptions::Kind::top_k, config.get<int64_t>("topk"), 1,
                        CombineWeights::renormalised};
  return options;
}

// The file's name of a parameter: it has one block only.
std::string golden_name(std::string name) {
  const std::string ours = "blocks.0.";
  if (name.starts_with(ours)) name.replace(0, ours.size(), "block.");
  return name;
}

class GoldenStep : public ::testing::TestWithParam<DType> {};

TEST_P(GoldenStep, LossLogitsAndGradients) {
  const DType dtype = GetParam();
  const double tolerance = dtype == DType::f64 ? 1e-9 : 1e-5;
  const GoldenFile file("training.h5");
  const Json config = Json::parse(file.config("/step"));
  GincTransformer model(Scope{"", dtype, 0}, options_of(config));
  for (Parameter* p : parameters(model)) {
    copy_elements(file.tensor("/step/init/" + golden_name(p->name()), dtype), p->value());
  }
  ASSERT_EQ(parameters(model).size(), file.names("/step/init").size());

  const Tensor tokens = file.tensor("/step/tokens");
  const int64_t B = tokens.dim(0), T = tokens.dim(1) - 1;
  const Tensor inputs({B, T}, DType::i32), targets({B, T}, DType::i32);
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t t = 0; t < T; ++t) {
      const int32_t* row = tokens.data<int32_t>() + b * (T + 1);
      inputs.data<int32_t>()[b * T + t] = row[t];
      targets.data<int32_t>()[b * T + t] = row[t + 1];
    }
  }
  Tape tape;
  Context context{tape, true};
  const Tensor logits = model.forward(context, inputs);
  const Tensor loss = cross_entropy(tape, logits, targets);
  tape.backward(loss);
  EXPECT_LT(golden_error(loss, file.tensor("/step/loss")), tolerance);
  EXPECT_LT(golden_error(logits, file.tensor("/step/logits")), tolerance);
  for (Parameter* p : parameters(model)) {
    const Tensor golden = file.tensor("/step/gradients/" + golden_name(p->name()));
    EXPECT_LT(golden_error(p->grad(), golden), tolerance) << p->name();
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, GoldenStep, ::testing::Values(DType::f64, DType::f32));

}  // namespace
}  // namespace offshoot
