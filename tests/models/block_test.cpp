#include "models/block.h"

#include <gtest/gtest.h>

#include "engine/testing/gradcheck.h"
#include "models/moe.h"
#include "tests/models/module_check.h"

namespace offshoot {
namespace {

using testing::module_gradient_error;
using testing::random_tensor;
using testing::randomise;
using testing::relative_error;

constexpr int64_t kFeatures = 6;

enum class Inside { mlp, moe };

std::unique_ptr<TransformerBlock> block(NormPosition norm, Inside inside, bool causal,
                                        double dropout) {
  BlockOptions options;
  options.features = kFeatures;
  options.heads = 2;
  options.causal = causal;
  options.norm = norm;
  options.dropout = dropout;
  return std::make_unique<TransformerBlock>(
      Scope{"block", DType::f64, 3}, options,
      [&](const Scope& scope) -> std::unique_ptr<FeedForward> {
        if (inside == Inside::mlp) return std::make_unique<Mlp>(scope / "mlp", kFeatures, 5);
        MoeOptions moe;
        moe.features = kFeatures;
        moe.hidden = 4;
        moe.experts = 3;
        moe.route = {RouteOptions::Kind::top_k, 2, 1, CombineWeights::renormalised};
        return std::make_unique<MoeLayer>(scope / "moe", moe);
      });
}

class BlockGradients : public ::testing::TestWithParam<std::tuple<NormPosition, Inside>> {};

TEST_P(BlockGradients, MatchCentralDifferences) {
  const auto [norm, inside] = GetParam();
  for (const bool causal : {true, false}) {
    const auto model = block(norm, inside, causal, 0.25);
    randomise(*model, 5);
    const Tensor mask = Tensor::from<int32_t>({2, 4}, {1, 1, 1, 0, 1, 1, 1, 1});
    EXPECT_LT(module_gradient_error(*model,
                                    [&](Context& context, const auto& x) {
                                      return model->forward(context, x[0],
                                                            causal ? Tensor() : mask);
                                    },
                                    {random_tensor({2, 4, kFeatures}, DType::f64, 6)}),
              1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, BlockGradients,
                         ::testing::Combine(::testing::Values(NormPosition::pre,
                                                              NormPosition::post),
                                            ::testing::Values(Inside::mlp, Inside::moe)));

// With a feed-forward part and an attention that add nothing, pre-norm is the identity and
// post-norm two normalisations.
TEST(Block, WhereTheNormsStand) {
  const Tensor x = random_tensor({1, 3, kFeatures}, DType::f64, 1);
  Tape tape = Tape::none();
  Context context{tape};
  const auto silenced = [&](NormPosition norm) {
    auto model = block(norm, Inside::mlp, true, 0);
    for (const char* name : {"block.attention.out.weight", "block.mlp.fc2.weight"}) {
      fill_zero(parameter(*model, name).value());
    }
    return model;
  };
  EXPECT_EQ(relative_error(silenced(NormPosition::pre)->forward(context, x), x), 0.0);
  const auto post = silenced(NormPosition::post);
  LayerNorm norm(Scope{"ln", DType::f64, 1}, kFeatures);
  const Tensor once = norm.forward(context, x);
  EXPECT_LT(relative_error(post->forward(context, x), norm.forward(context, once)), 1e-12);
  EXPECT_GT(relative_error(post->forward(context, x), x), 0.1);
}

TEST(Block, NamesAndGroups) {
  const auto model = block(NormPosition::pre, Inside::moe, true, 0);
  std::vector<std::string> names;
  for (const Parameter* p : parameters(*model)) names.push_back(p->name());
  const std::vector<std::string> expected = {
      "block.ln1.weight",           "block.ln1.bias",
      "block.attention.qkv.weight", "block.attention.qkv.bias",
      "block.attention.out.weight", "block.attention.out.bias",
      "block.ln2.weight",           "block.ln2.bias",
      "block.moe.fc1.weight",       "block.moe.fc1.bias",
      "block.moe.fc2.weight",       "block.moe.fc2.bias",
      "block.moe.gate.weight"};
  EXPECT_EQ(names, expected);
  const auto groups = growth_groups(*model);
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0]->name(), "block.moe");
  EXPECT_TRUE(growth_groups(*block(NormPosition::pre, Inside::mlp, true, 0)).empty());
}

TEST(Block, ItsTwoDropoutsHaveDifferentMasks) {
  // Both silenced parts output their biases, so what is dropped shows.
  const auto model = block(NormPosition::pre, Inside::mlp, true, 0.5);
  for (const char* part : {"block.attention.out", "block.mlp.fc2"}) {
    fill_zero(parameter(*model, std::string(part) + ".weight").value());
  }
  const Tensor x = Tensor::zeros({2, 8, kFeatures}, DType::f64);
  Tape tape = Tape::none();
  Context context{tape, true, {1, 1, 0}};
  const Tensor attention_bias = parameter(*model, "block.attention.out.bias").value();
  const Tensor mlp_bias = parameter(*model, "block.mlp.fc2.bias").value();
  const auto with_bias = [&](double attention, double mlp) {
    for (double& b : attention_bias.elements<double>()) b = attention;
    for (double& b : mlp_bias.elements<double>()) b = mlp;
    return model->forward(context, x);
  };
  EXPECT_GT(relative_error(with_bias(1, 0), with_bias(0, 1)), 0.5);
  EXPECT_EQ(relative_error(with_bias(1, 0), with_bias(1, 0)), 0.0);
}

}  // namespace
}  // namespace offshoot
