#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"
#include "optim/adam.h"
#include "optim/sgd.h"

namespace offshoot {
namespace {

Tensor numbers(double first, double second) { return Tensor::from<double>({2}, {first, second}); }

void set_gradient(Parameter& parameter, const Tensor& gradient) {
  copy_elements(gradient, parameter.gradient_slot().grad);
}

std::vector<double> values(const Tensor& tensor) {
  const auto elements = tensor.elements<double>();
  return {elements.begin(), elements.end()};
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

struct TwoLayers : Module {
  Parameter weight{"weight", Tensor::zeros({2, 3}, DType::f64)};
  Parameter bias{"bias", Tensor::zeros({2}, DType::f64)};
  Parameter frozen{"frozen", Tensor::zeros({2, 2}, DType::f64)};
  TwoLayers() { frozen.set_trainable(false); }
  void each_parameter(const ParameterVisitor& visit) override {
    for (Parameter* p : {&weight, &bias, &frozen}) visit(*p);
  }
};

TEST(Optimizer, OneParameterHasOneOptimizer) {
  Parameter p("p", numbers(1, 2));
  {
    const Sgd first({{{&p}}});
    EXPECT_THROW(AdamW({{{&p}}}), Error);
    EXPECT_NE(error_of([&] { Sgd second({{{&p}}}); }).find("[p]"), std::string::npos);
    EXPECT_THROW(p.set_trainable(false), Error);
  }
  EXPECT_NO_THROW(AdamW({{{&p}}}));  // the first one is gone
  EXPECT_NO_THROW(p.set_trainable(false));
}

TEST(Optimizer, AParameterStandsInOneGroup) {
  Parameter p("p", numbers(1, 2));
  EXPECT_THROW(Sgd({{{&p, &p}}}), Error);
  EXPECT_THROW(Sgd({{{&p}}, {{&p}}}), Error);
  EXPECT_NO_THROW(Sgd({{{&p}}}));  // a failed construction claims nothing
}

TEST(Optimizer, RefusesParametersThatAreNotTrainable) {
  Parameter p("p", numbers(1, 2));
  EXPECT_THROW(Sgd({{{&p, nullptr}}}), Error);
  p.set_trainable(false);
  EXPECT_THROW(Sgd({{{&p}}}), Error);
}

TEST(Optimizer, RefusesOptionsThatCannotBe) {
  Parameter p("p", numbers(1, 2));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(Sgd({{{&p}, -1.0}}), Error);
  EXPECT_THROW(Sgd({{{&p}, 1.0, -0.1}}), Error);
  EXPECT_THROW(Sgd({{{&p}, nan}}), Error);
  EXPECT_THROW(Sgd({{{&p}}}, {1.0}), Error);
  EXPECT_THROW(Adam({{{&p}}}, {1.0}), Error);
  EXPECT_THROW(Adam({{{&p}}}, {0.9, -0.1}), Error);
  EXPECT_THROW(Adam({{{&p}}}, {0.9, 0.999, 0.0}), Error);
  Sgd sgd({{{&p}}});
  EXPECT_THROW(sgd.step(-1e-3), Error);
  EXPECT_THROW(sgd.step(nan), Error);
}

TEST(Optimizer, DecayOnTensorsOfTwoAxesAndMore) {
  TwoLayers model;
  const std::vector<ParameterGroup> groups = decay_matrices_only(model, 0.01);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].parameters, std::vector<Parameter*>{&model.weight});
  EXPECT_EQ(groups[0].weight_decay, 0.01);
  EXPECT_EQ(groups[1].parameters, std::vector<Parameter*>{&model.bias});
  EXPECT_EQ(groups[1].weight_decay, 0.0);
}

TEST(Optimizer, GroupsHaveTheirOwnRateAndDecay) {
  Parameter a("a", numbers(1, -2)), b("b", numbers(1, -2)), c("c", numbers(1, -2));
  Sgd sgd({{{&a}, 1.0, 0.0}, {{&b}, 10.0, 0.0}, {{&c}, 0.0, 0.5}});
  for (Parameter* p : {&a, &b, &c}) set_gradient(*p, numbers(0.5, 0.25));
  sgd.step(0.1);
  EXPECT_EQ(values(a.value()), values(numbers(1 - 0.1 * 0.5, -2 - 0.1 * 0.25)));
  EXPECT_EQ(values(b.value()), values(numbers(1 - 0.5, -2 - 0.25)));
  EXPECT_EQ(values(c.value()), values(numbers(1, -2)));
}

TEST(Optimizer, ZeroGradMarksEveryGradientEmpty) {
  Parameter a("a", numbers(1, 2)), b("b", numbers(1, 2));
  Sgd sgd({{{&a}}, {{&b}}});
  set_gradient(a, numbers(1, 1));
  set_gradient(b, numbers(1, 1));
  sgd.zero_grad();
  EXPECT_FALSE(a.has_grad());
  EXPECT_FALSE(b.has_grad());
}

TEST(Optimizer, AParameterWithoutAGradientIsLeftAlone) {
  Parameter with("with", numbers(1, 2)), without("without", numbers(1, 2));
  Adam adam({{{&with, &without}, 1.0, 0.1}});
  set_gradient(with, numbers(1, 1));
  adam.step(0.1);
  adam.step(0.1);
  EXPECT_NE(values(with.value()), values(numbers(1, 2)));
  EXPECT_EQ(values(without.value()), values(numbers(1, 2)));
  adam.each_state([](const std::string& name, const Tensor& state) {
    if (name == "with/step") {
      EXPECT_EQ(state.item(), 2);
    } else if (name == "without/step") {
      EXPECT_EQ(state.item(), 0);
    }
  });
  Parameter momentum("momentum", numbers(1, 2));
  Sgd sgd({{{&momentum}}}, {0.9});
  sgd.step(0.1);
  EXPECT_EQ(values(momentum.value()), values(numbers(1, 2)));
}

TEST(Optimizer, ALossThatIsNotFiniteChangesNothing) {
  Parameter p("p", numbers(1, 2));
  Adam adam({{{&p}}});
  set_gradient(p, numbers(1, 1));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double loss : {nan, std::numeric_limits<double>::infinity()}) {
    adam.step(0.1, Tensor::scalar(loss, DType::f32));
  }
  EXPECT_EQ(values(p.value()), values(numbers(1, 2)));
  adam.each_state([](const std::string& name, const Tensor& state) {
    if (name == "p/step") {
      EXPECT_EQ(state.item(), 0);
    }
  });
  EXPECT_THROW(adam.step(0.1, Tensor::zeros({2}, DType::f32)), Error);
  EXPECT_THROW(adam.step(0.1, Tensor::zeros({}, DType::i64)), Error);
  adam.step(0.1, Tensor::scalar(3.5, DType::f64));
  EXPECT_NE(values(p.value()), values(numbers(1, 2)));
}

TEST(Sgd, DecayAddsToTheGradientAndMomentumKeepsIt) {
  Parameter p("p", numbers(2, -4));
  Sgd sgd({{{&p}, 1.0, 0.5}}, {0.5});
  set_gradient(p, numbers(1, 1));
  sgd.step(0.25);  // b = g + w/2 = (2, -1)
  EXPECT_EQ(values(p.value()), values(numbers(1.5, -3.75)));
  sgd.step(0.25);  // b = b/2 + g + w/2 = (1 + 1.75, -0.5 - 0.875)
  EXPECT_EQ(values(p.value()), values(numbers(1.5 - 0.25 * 2.75, -3.75 + 0.25 * 1.375)));
}

TEST(Adam, TheFirstStepIsTheRateLong) {
  // m / (1 - beta1) = g and v / (1 - beta2) = g^2, so the step is rate * sign(g).
  Parameter p("p", numbers(1, 1));
  Adam adam({{{&p}}});
  set_gradient(p, numbers(0.3, -20));
  adam.step(0.01);
  EXPECT_NEAR(values(p.value())[0], 0.99, 1e-9);
  EXPECT_NEAR(values(p.value())[1], 1.01, 1e-9);
}

TEST(Adam, DecayGoesThroughTheMomentsAndAdamWsDoesNot) {
  Parameter coupled("coupled", numbers(1, 1)), decoupled("decoupled", numbers(1, 1));
  Adam adam({{{&coupled}, 1.0, 0.1}});
  AdamW adamw({{{&decoupled}, 2.0, 0.1}});
  set_gradient(coupled, numbers(0, 0));
  set_gradient(decoupled, numbers(0, 0));
  adam.step(0.01);
  adamw.step(0.01);
  EXPECT_NEAR(values(coupled.value())[0], 0.99, 1e-8);  // the gradient is 0.1 w
  EXPECT_DOUBLE_EQ(values(decoupled.value())[0], 1 - 2 * 0.01 * 0.1);
}

TEST(Adam, StepsLargerThanOneTaskMatchTheFormula) {
  constexpr int64_t kSize = 4096 * 2 + 17;
  const Tensor initial = testing::random_tensor({kSize}, DType::f64, 1);
  const Tensor gradient = testing::random_tensor({kSize}, DType::f64, 2);
  Parameter p("p", initial.clone());
  AdamW adam({{{&p}, 1.0, 0.2}});
  std::vector<double> w(initial.elements<double>().begin(), initial.elements<double>().end());
  std::vector<double> m(w.size()), v(w.size());
  for (int t = 1; t <= 3; ++t) {
    set_gradient(p, gradient);
    adam.step(0.01);
    for (size_t i = 0; i < w.size(); ++i) {
      const double g = gradient.elements<double>()[i];
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g * g;
      w[i] *= 1 - 0.01 * 0.2;
      w[i] -= 0.01 * (m[i] / (1 - std::pow(0.9, t))) /
              (std::sqrt(v[i] / (1 - std::pow(0.999, t))) + 1e-8);
    }
  }
  EXPECT_LT(testing::relative_error(p.value(), Tensor::from<double>({kSize}, w)), 1e-13);
}

TEST(Optimizer, StateNamesAreTheParametersWithTheStates) {
  Parameter a("block.a", numbers(1, 2)), b("b", Tensor::zeros({2, 3}, DType::f32));
  const Adam adam({{{&a}}, {{&b}}});
  std::vector<std::string> names;
  adam.each_state([&](const std::string& name, const Tensor&) { names.push_back(name); });
  EXPECT_EQ(names,
            (std::vector<std::string>{"block.a/exp_avg", "block.a/exp_avg_sq", "block.a/step",
                                      "b/exp_avg", "b/exp_avg_sq", "b/step"}));
}

}  // namespace
}  // namespace offshoot
