#include "engine/module.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"

namespace offshoot {
namespace {

struct Layer : Module {
  explicit Layer(const Scope& scope)
      : weight((scope / "weight").name,
               normal({5, 7}, scope.dtype, scope.random("weight"), 0.0, 1.0)),
        bias((scope / "bias").name, uniform({5}, scope.dtype, scope.random("bias"), -1.0, 1.0)) {}
  void each_parameter(const ParameterVisitor& visit) override {
    visit(weight);
    visit(bias);
  }
  Parameter weight, bias;
};

struct Model : Module {
  explicit Model(const Scope& scope) : first(scope / "first"), second(scope / "second") {}
  void each_parameter(const ParameterVisitor& visit) override {
    first.each_parameter(visit);
    second.each_parameter(visit);
    visit(first.weight);  // tied
  }
  void each_growth_group(const GroupVisitor& visit) override {
    visit(group);
    visit(group);
  }
  Layer first, second;
  GrowthGroup group{"experts", 2};
};

std::vector<std::string> names(const std::vector<Parameter*>& all) {
  std::vector<std::string> result;
  for (const Parameter* p : all) result.push_back(p->name());
  return result;
}

double difference(const Tensor& a, const Tensor& b) { return testing::relative_error(a, b); }

TEST(Scope, NamesAreDotted) {
  const Scope scope{"", DType::f64, 5};
  EXPECT_EQ((scope / "block" / "ln1").name, "block.ln1");
  EXPECT_EQ((scope / "block").dtype, DType::f64);
  EXPECT_EQ((scope / "block").seed, 5u);
}

TEST(Module, WalksEveryParameterOnceInOrder) {
  Model model(Scope{"m"});
  EXPECT_EQ(names(parameters(model)),
            (std::vector<std::string>{"m.first.weight", "m.first.bias", "m.second.weight",
                                      "m.second.bias"}));
  EXPECT_EQ(growth_groups(model), std::vector<GrowthGroup*>{&model.group});
}

TEST(Module, PatternsChooseParameters) {
  Model model(Scope{"m"});
  EXPECT_EQ(names(parameters(model, "*.bias")),
            (std::vector<std::string>{"m.first.bias", "m.second.bias"}));
  EXPECT_EQ(names(parameters(model, "m.second.*")),
            (std::vector<std::string>{"m.second.weight", "m.second.bias"}));
  EXPECT_TRUE(parameters(model, "second").empty());
  EXPECT_EQ(&parameter(model, "m.first.bias"), &model.first.bias);
  EXPECT_THROW((void)parameter(model, "first.bias"), Error);
}

TEST(Module, AStarStandsForAnyCharacters) {
  EXPECT_TRUE(matches("block.0.weight", "block.*.weight"));
  EXPECT_TRUE(matches("block.0.moe.weight", "block.*.weight"));
  EXPECT_TRUE(matches("block..weight", "block.*.weight"));
  EXPECT_TRUE(matches("", "*"));
  EXPECT_TRUE(matches("abcabc", "*abc"));
  EXPECT_TRUE(matches("a.b", "**"));
  EXPECT_TRUE(matches("same", "same"));
  EXPECT_FALSE(matches("block.0.weights", "block.*.weight"));
  EXPECT_FALSE(matches("blocks", "block"));
  EXPECT_FALSE(matches("block", "blocks"));
  EXPECT_FALSE(matches("a", ""));
  EXPECT_FALSE(matches("axb", "a.b"));  // a dot is a dot
}

TEST(Module, TwoParametersOfOneNameAreAnError) {
  struct Twins : Module {
    void each_parameter(const ParameterVisitor& visit) override {
      visit(a);
      visit(b);
    }
    void each_growth_group(const GroupVisitor& visit) override {
      visit(g);
      visit(h);
    }
    Parameter a{"same", Tensor::zeros({1}, DType::f32)};
    Parameter b{"same", Tensor::zeros({1}, DType::f32)};
    GrowthGroup g{"experts", 1}, h{"experts", 1};
  } twins;
  EXPECT_THROW((void)parameters(twins), Error);
  EXPECT_THROW((void)growth_groups(twins), Error);
}

TEST(Module, FirstValuesDependOnSeedAndNameOnly) {
  const Scope scope{"m", DType::f32, 11};
  const Model whole(scope);
  const Layer second(scope / "second");  // built alone, before any other
  EXPECT_EQ(difference(second.weight.value(), whole.second.weight.value()), 0.0);
  EXPECT_EQ(difference(second.bias.value(), whole.second.bias.value()), 0.0);
  EXPECT_GT(difference(whole.first.weight.value(), whole.second.weight.value()), 0.1);
  const Layer other_seed(Scope{"m", DType::f32, 12} / "second");
  EXPECT_GT(difference(other_seed.weight.value(), second.weight.value()), 0.1);
}

TEST(Module, FirstValuesAreTheSameNumbersInBothTypes) {
  const Layer single(Scope{"m", DType::f32, 3}), both(Scope{"m", DType::f64, 3});
  for (const auto& [f32, f64] : {std::pair{single.weight.value(), both.weight.value()},
                                 std::pair{single.bias.value(), both.bias.value()}}) {
    for (int64_t i = 0; i < f32.size(); ++i) {
      EXPECT_EQ(static_cast<double>(f32.data<float>()[i]), f64.data<double>()[i]);
    }
  }
}

TEST(Module, DrawsFollowTheirDistributions) {
  constexpr int64_t kCount = 40000;
  const Tensor n = normal({kCount}, DType::f64, Random(1, 2), 3.0, 0.5);
  double sum = 0, squares = 0;
  for (const double x : n.elements<double>()) sum += x, squares += (x - 3) * (x - 3);
  EXPECT_NEAR(sum / kCount, 3.0, 0.01);
  EXPECT_NEAR(std::sqrt(squares / kCount), 0.5, 0.01);
  const Tensor u = uniform({kCount}, DType::f64, Random(1, 2), -0.25, 0.75);
  sum = 0;
  for (const double x : u.elements<double>()) {
    EXPECT_GE(x, -0.25);
    EXPECT_LE(x, 0.75);
    sum += x;
  }
  EXPECT_NEAR(sum / kCount, 0.25, 0.01);
}

// Each of the vectors is unit, orthogonal to the others, and lies in what the first so many draws
// span, on the draw's side.
TEST(Module, OrthogonalIsWhatGramAndSchmidtMake) {
  for (const auto& [R, C] :
       {std::pair<int64_t, int64_t>{1, 1}, {1, 5}, {5, 1}, {3, 7}, {7, 3}, {67, 67}}) {
    SCOPED_TRACE(to_string(Shape{R, C}));
    const Tensor q = orthogonal({R, C}, DType::f64, Random(1, 2));
    const int64_t count = std::min(R, C), length = std::max(R, C);
    const int64_t next = R <= C ? C : 1, step = R <= C ? 1 : C;
    const auto element = [&, data = q.data<double>()](int64_t vector, int64_t d) {
      return data[vector * next + d * step];
    };
    Random random(1, 2);
    for (int64_t i = 0; i < count; ++i) {
      std::vector<double> draw(static_cast<size_t>(length));
      for (double& value : draw) value = random.normal();
      double rest = 0, along_own = 0;
      for (const double value : draw) rest += value * value;
      for (int64_t j = 0; j < count; ++j) {
        double product = 0, along = 0;
        for (int64_t d = 0; d < length; ++d) {
          product += element(i, d) * element(j, d);
          along += draw[static_cast<size_t>(d)] * element(j, d);
        }
        EXPECT_NEAR(product, i == j ? 1 : 0, 1e-6);
        if (j <= i) rest -= along * along;
        if (j == i) along_own = along;
      }
      EXPECT_NEAR(rest, 0, 1e-4);
      EXPECT_GT(along_own, 0);
    }
  }
}

TEST(Module, OrthogonalNeedsAMatrix) {
  try {
    orthogonal({3}, DType::f32, Random(1, 2));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "[module] orthogonal: got shape [3], expected [R, C], both at least 1");
  }
}

}  // namespace
}  // namespace offshoot
