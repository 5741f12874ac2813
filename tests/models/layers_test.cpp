#include "models/layers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"
#include "models/attention.h"
#include "models/feed_forward.h"
#include "ops/dropout.h"
#include "ops/linear.h"
#include "tests/models/module_check.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

using testing::module_gradient_error;
using testing::random_tensor;
using testing::random_tokens;
using testing::randomise;

Scope scope(std::string name) { return {std::move(name), DType::f64, 11}; }

std::vector<double> values(const Tensor& tensor) {
  return {tensor.elements<double>().begin(), tensor.elements<double>().end()};
}

std::vector<std::string> names(Module& module) {
  std::vector<std::string> names;
  for (const Parameter* p : parameters(module)) names.push_back(p->name());
  return names;
}

// The gradient error of a module with one input.
template <class M>
double error_of(M& module, const Shape& shape) {
  randomise(module, 1);
  return module_gradient_error(
      module, [&](Context& context, const auto& x) { return module.forward(context, x[0]); },
      {random_tensor(shape, DType::f64, 2)});
}

TEST(Layers, GradientsOfLinear) {
  Linear with(scope("a"), 7, 5), without(scope("b"), 7, 5, {.bias = false});
  EXPECT_LT(error_of(with, {3, 7}), 1e-6);
  EXPECT_LT(error_of(without, {2, 3, 7}), 1e-6);
  Linear large(scope("c"), 37, 41);
  EXPECT_LT(error_of(large, {5, 37}), 1e-6);
  EXPECT_EQ(names(without), std::vector<std::string>{"b.weight"});
}

TEST(Layers, GradientsOfLayerNorm) {
  LayerNorm layer(scope("ln"), 7);
  EXPECT_LT(error_of(layer, {3, 7}), 1e-6);
}

TEST(Layers, GradientsOfEmbedding) {
  Embedding layer(scope("e"), 11, 3);
  const Tensor ids = random_tokens({4, 5}, 11, 3);
  EXPECT_LT(module_gradient_error(
                layer, [&](Context& context, const auto&) { return layer.forward(context, ids); }),
            1e-6);
}

TEST(Layers, GradientsOfMlp) {
  Mlp layer(scope("mlp"), 5, 7);
  EXPECT_LT(error_of(layer, {2, 3, 5}), 1e-6);
}

TEST(Layers, GradientsOfAttention) {
  for (const bool causal : {false, true}) {
    MultiHeadAttention layer(scope("attention"), 6, 3, causal, 0.2);
    EXPECT_LT(error_of(layer, {2, 5, 6}), 1e-6);
  }
  MultiHeadAttention layer(scope("attention"), 6, 2, false);
  randomise(layer, 4);
  const Tensor mask = Tensor::from<int32_t>({2, 5}, {1, 1, 0, 1, 0, 0, 1, 1, 1, 1});
  EXPECT_LT(module_gradient_error(
                layer,
                [&](Context& context, const auto& x) { return layer.forward(context, x[0], mask); },
                {random_tensor({2, 5, 6}, DType::f64, 2)}),
            1e-6);
  EXPECT_THROW(MultiHeadAttention(scope("attention"), 6, 4, true), Error);
  EXPECT_THROW(MultiHeadAttention(scope("attention"), 6, 0, true), Error);
}

// How much the second query's output changes when token `t` does.
double reach(bool causal, const Tensor& mask, int64_t t) {
  MultiHeadAttention layer(scope("attention"), 6, 2, causal);
  randomise(layer, 4);
  const Tensor x = random_tensor({1, 4, 6}, DType::f64, 2);
  Tape tape = Tape::none();
  Context context{tape};
  const auto second = [&] {
    const Tensor out = layer.forward(context, x, mask).view({4, 6});
    return out.rows(1, 1).clone();
  };
  const Tensor before = second();
  for (int64_t d = 0; d < 6; ++d) x.data<double>()[t * 6 + d] += 1.0;
  return testing::relative_error(second(), before);
}

TEST(Layers, AttentionSeesWhatItMay) {
  const Tensor mask = Tensor::from<int32_t>({1, 4}, {0, 1, 1, 0});
  for (int64_t t = 0; t < 4; ++t) {
    EXPECT_EQ(reach(false, {}, t) > 0, true) << t;
    EXPECT_EQ(reach(true, {}, t) > 0, t <= 1) << t;
    EXPECT_EQ(reach(false, mask, t) > 0, t == 1 || t == 2) << t;
    EXPECT_EQ(reach(true, mask, t) > 0, t == 1) << t;
  }
}

TEST(LayersCuda, AttentionFollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor x = random_tensor({2, 5, 6}, DType::f32, 2);
  const Tensor mask = Tensor::from<int32_t>({2, 5}, {1, 1, 0, 1, 0, 0, 1, 1, 1, 1});
  for (const bool causal : {false, true}) {
    Tensor results[2];
    for (const Device device : {Device{}, testing::kCuda}) {
      MultiHeadAttention layer({"attention", DType::f32, 11, device}, 6, 2, causal);
      Tape tape = Tape::none();
      Context context{tape};
      const Tensor out = layer.forward(context, x.to(device), mask);
      results[device.is_cuda() ? 1 : 0] = out.to(Device{});
    }
    EXPECT_LT(testing::relative_error(results[1], results[0]), 1e-5);
  }
}

// A token table that is the output layer, too.
class Tied final : public Module {
 public:
  Tied() : table_(scope("table"), 7, 5) {}
  Tensor forward(Context& context, const Tensor& ids) {
    const Tensor x = table_.forward(context, ids);
    return linear(context.tape, x, context.tape.watch(table_.weight()), {});
  }
  void each_parameter(const ParameterVisitor& visit) override {
    table_.each_parameter(visit);
    visit(table_.weight());
  }

 private:
  Embedding table_;
};

TEST(Layers, ATiedWeightIsWalkedOnceAndGetsBothGradients) {
  Tied model;
  EXPECT_EQ(names(model), std::vector<std::string>{"table.weight"});
  const Tensor ids = random_tokens({2, 6}, 7, 3);
  randomise(model, 5);
  EXPECT_LT(module_gradient_error(
                model, [&](Context& context, const auto&) { return model.forward(context, ids); }),
            1e-6);
}

TEST(Layers, FirstValuesDependOnSeedAndNameAlone) {
  Linear a(scope("x"), 5, 4), again(scope("x"), 5, 4), other(scope("y"), 5, 4);
  Linear seeded(Scope{"x", DType::f64, 12}, 5, 4), narrow(Scope{"x", DType::f32, 11}, 5, 4);
  const auto weights = values(parameter(a, "x.weight").value());
  EXPECT_EQ(weights, values(parameter(again, "x.weight").value()));
  EXPECT_NE(weights, values(parameter(other, "y.weight").value()));
  EXPECT_NE(weights, values(parameter(seeded, "x.weight").value()));
  const Tensor small = parameter(narrow, "x.weight").value();
  EXPECT_TRUE(std::ranges::equal(weights, small.elements<float>()));
  EXPECT_EQ(values(parameter(a, "x.bias").value()), std::vector<double>(4, 0.0));
  LayerNorm norm(scope("ln"), 3);
  EXPECT_EQ(values(parameter(norm, "ln.weight").value()), std::vector<double>(3, 1.0));
}

TEST(Layers, LinearWeightsHaveTheDeviationAsked) {
  Linear layer(scope("x"), 64, 64, {.deviation = 0.3});
  double squares = 0;
  for (const double w : values(parameter(layer, "x.weight").value())) squares += w * w;
  EXPECT_NEAR(std::sqrt(squares / (64 * 64)), 0.3, 0.02);
}

TEST(Layers, DropoutMasksFollowKeyAndName) {
  Dropout a(scope("a"), 0.5), again(scope("a"), 0.5), b(scope("b"), 0.5);
  const Tensor ones = Tensor::full({8, 16}, DType::f64, 1.0);
  Tape tape = Tape::none();
  Context context{tape, true, {1, 2, 3}};
  const auto mask = values(a.forward(context, ones));
  for (size_t i = 0; i < mask.size(); ++i) {
    const bool kept = dropout_keeps(0.5, context.dropout, stream_of("a"), static_cast<int64_t>(i));
    EXPECT_EQ(mask[i], kept ? 2.0 : 0.0);
  }
  EXPECT_EQ(values(again.forward(context, ones)), mask);
  EXPECT_NE(values(b.forward(context, ones)), mask);
  for (const DropoutKey& key : {DropoutKey{0, 2, 3}, {1, 0, 3}, {1, 2, 0}}) {
    Context changed{tape, true, key};
    EXPECT_NE(values(a.forward(changed, ones)), mask);
  }
  Context evaluation{tape, false, {1, 2, 3}};
  EXPECT_EQ(values(a.forward(evaluation, ones)), values(ones));
  EXPECT_THROW(Dropout(scope("a"), 1.0), Error);
  EXPECT_THROW(Dropout(scope("a"), -0.1), Error);
  EXPECT_THROW(Dropout(scope("a"), std::nan("")), Error);
}

}  // namespace
}  // namespace offshoot
