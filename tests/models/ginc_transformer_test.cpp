#include "models/ginc_transformer.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"
#include "models/layer_record.h"
#include "ops/cast.h"
#include "ops/cross_entropy.h"
#include "tests/models/module_check.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

using testing::module_gradient_error;
using testing::random_tokens;
using testing::randomise;
using testing::relative_error;
using Kind = RouteOptions::Kind;

constexpr int64_t kVocabulary = 7;

GincTransformerOptions small(bool moe, int64_t layers = 1) {
  GincTransformerOptions options;
  options.vocabulary = kVocabulary;
  options.context_length = 5;
  options.features = 6;
  options.heads = 2;
  options.layers = layers;
  options.dense_hidden = 5;
  if (!moe) return options;
  options.moe.emplace();
  options.moe->hidden = 4;
  options.moe->experts = 3;
  options.moe->route = {Kind::top_p, 1, 0.6, CombineWeights::renormalised_if_shared};
  return options;
}

Tensor logits(GincTransformer& model, const Tensor& tokens) {
  Tape tape = Tape::none();
  Context context{tape};
  return model.forward(context, tokens);
}

std::vector<std::string> names(Module& module) {
  std::vector<std::string> names;
  for (const Parameter* p : parameters(module)) names.push_back(p->name());
  return names;
}

// As with the training loss: cross-entropy of the next token, at a length below the context's.
double gradient_error(const GincTransformerOptions& options) {
  GincTransformer model(Scope{"", DType::f64, 3}, options);
  randomise(model, 8, 0.4);
  const Tensor tokens = random_tokens({2, 4}, kVocabulary, 1);
  const Tensor targets = random_tokens({2, 4}, kVocabulary, 2);
  return module_gradient_error(model, [&](Context& context, const auto&) {
    return cross_entropy(context.tape, model.forward(context, tokens), targets);
  });
}

TEST(GincTransformer, GradientsOfTheDenseModel) { EXPECT_LT(gradient_error(small(false)), 1e-6); }

TEST(GincTransformer, GradientsWithExpertsLayersAndDropout) {
  GincTransformerOptions options = small(true, 2);
  options.dropout = 0.2;
  EXPECT_LT(gradient_error(options), 1e-6);
  options.moe->route = {Kind::top_k, 2, 1, CombineWeights::renormalised};
  EXPECT_LT(gradient_error(options), 1e-6);
}

TEST(GincTransformer, NamesOfParametersAndGroups) {
  GincTransformer dense(Scope{"", DType::f32, 3}, small(false));
  const std::vector<std::string> expected = {"embedding.weight",
                                             "position.weight",
                                             "blocks.0.ln1.weight",
                                             "blocks.0.ln1.bias",
                                             "blocks.0.attention.qkv.weight",
                                             "blocks.0.attention.qkv.bias",
                                             "blocks.0.attention.out.weight",
                                             "blocks.0.attention.out.bias",
                                             "blocks.0.ln2.weight",
                                             "blocks.0.ln2.bias",
                                             "blocks.0.mlp.fc1.weight",
                                             "blocks.0.mlp.fc1.bias",
                                             "blocks.0.mlp.fc2.weight",
                                             "blocks.0.mlp.fc2.bias",
                                             "ln_final.weight",
                                             "ln_final.bias",
                                             "head.weight"};
  EXPECT_EQ(names(dense), expected);
  EXPECT_TRUE(dense.moe_layers().empty());
  GincTransformer experts(Scope{"", DType::f32, 3}, small(true, 2));
  ASSERT_EQ(experts.moe_layers().size(), 2u);
  EXPECT_EQ(experts.moe_layers()[1]->name(), "blocks.1.moe");
  EXPECT_EQ(parameters(experts, "blocks.*.moe.gate.weight").size(), 2u);
  const auto groups = growth_groups(experts);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0]->name(), "blocks.0.moe");
}

TEST(GincTransformer, BothPrecisionsStartEqualAndAgree) {
  GincTransformer narrow(Scope{"", DType::f32, 3}, small(true));
  GincTransformer wide(Scope{"", DType::f64, 3}, small(true));
  const auto few = parameters(narrow), many = parameters(wide);
  for (size_t i = 0; i < few.size(); ++i) {
    const Tensor a = few[i]->value(), b = many[i]->value();
    EXPECT_TRUE(std::ranges::equal(a.elements<float>(), b.elements<double>())) << few[i]->name();
  }
  const Tensor tokens = random_tokens({3, 5}, kVocabulary, 4);
  const Tensor a = logits(narrow, tokens), b = logits(wide, tokens);
  const Tensor rounded(b.shape(), DType::f32);
  std::ranges::transform(b.elements<double>(), rounded.data<float>(),
                         [](double value) { return static_cast<float>(value); });
  EXPECT_LT(relative_error(a, rounded), 1e-5);
}

TEST(GincTransformer, AShorterTextIsThePrefixOfALongerOne) {
  GincTransformer model(Scope{"", DType::f64, 3}, small(false, 2));
  randomise(model, 8, 0.4);
  const Tensor tokens = random_tokens({1, 5}, kVocabulary, 4);
  const Tensor all = logits(model, tokens).view({5, kVocabulary});
  for (int64_t length = 1; length <= 5; ++length) {
    const Tensor part = Tensor::from<int32_t>(
        {1, length}, std::span<const int32_t>(tokens.data<int32_t>(), static_cast<size_t>(length)));
    EXPECT_LT(relative_error(logits(model, part).view({length, kVocabulary}), all.rows(0, length)),
              1e-13);
  }
}

// Of the next-token loss: the logits, then every parameter's gradient, in f32 on the CPU.
std::vector<Tensor> results_on(Device device, std::optional<DType> activations = {}) {
  GincTransformerOptions options = small(false, 2);
  options.dropout = 0.2;
  GincTransformer values(Scope{"", DType::f32, 3}, options);
  options.activations = activations;
  GincTransformer model(Scope{"", DType::f32, 3, device}, options);
  randomise(values, 8, 0.3);
  const auto from = parameters(values), to = parameters(model);
  for (size_t i = 0; i < to.size(); ++i) copy_elements(from[i]->value(), to[i]->value());

  Tape tape, none = Tape::none();
  Context context{tape, true, {1, 2, 3}};
  const Tensor out = model.forward(context, random_tokens({3, 4}, kVocabulary, 1));
  EXPECT_EQ(out.dtype(), activations.value_or(DType::f32));
  tape.backward(cross_entropy(tape, out, random_tokens({3, 4}, kVocabulary, 2)));
  std::vector<Tensor> results{cast(none, out, DType::f32).to(Device{})};
  for (Parameter* p : to) results.push_back(p->grad().to(Device{}));
  return results;
}

TEST(GincTransformerCuda, StartsFromTheSameNumbers) {
  OFFSHOOT_NEEDS_CUDA();
  GincTransformer here(Scope{"", DType::f32, 3}, small(false));
  GincTransformer there(Scope{"", DType::f32, 3, testing::kCuda}, small(false));
  const auto expected = parameters(here), got = parameters(there);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i]->value().device(), testing::kCuda) << got[i]->name();
    const Tensor a = got[i]->value().to(Device{}), b = expected[i]->value();
    EXPECT_TRUE(std::ranges::equal(a.elements<float>(), b.elements<float>())) << got[i]->name();
  }
}

TEST(GincTransformerCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const auto expected = results_on({}), got = results_on(testing::kCuda);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_LT(relative_error(got[i], expected[i]), 1e-5);
}

TEST(GincTransformerCuda, MixedPrecisionStaysNear) {
  OFFSHOOT_NEEDS_CUDA();
  const auto expected = results_on({}), got = results_on(testing::kCuda, DType::bf16);
  EXPECT_LT(relative_error(got[0], expected[0]), 2e-2);
  for (size_t i = 1; i < expected.size(); ++i) {
    EXPECT_LT(relative_error(got[i], expected[i]), 1e-1) << i;
  }
}

TEST(GincTransformer, RefusesWhatDoesNotFit) {
  GincTransformer model(Scope{"", DType::f32, 3}, small(true));
  EXPECT_THROW(logits(model, random_tokens({2, 6}, kVocabulary, 1)), Error);
  EXPECT_THROW(logits(model, random_tokens({4}, kVocabulary, 1)), Error);
  EXPECT_THROW(logits(model, Tensor::from<int32_t>({1, 2}, {0, 7})), Error);
  EXPECT_THROW(logits(model, Tensor::from<int32_t>({1, 2}, {-1, 0})), Error);
  EXPECT_THROW(GincTransformer(Scope{}, small(true, 0)), Error);
  GincTransformerOptions odd = small(true);
  odd.heads = 4;
  EXPECT_THROW(GincTransformer(Scope{}, odd), Error);
}

}  // namespace
}  // namespace offshoot
