// Optimizer state that grows and shrinks with its parameter's rows.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"
#include "optim/adam.h"
#include "optim/sgd.h"

namespace offshoot {
namespace {

constexpr int64_t kRows = 3, kRowSize = 5;
constexpr double kRate = 0.01;

// Everything that a growth may touch, byte for byte.
using Bits = std::map<std::string, std::vector<std::byte>>;

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  return {tensor.raw(), tensor.raw() + tensor.bytes()};
}

Tensor state_of(const Optimizer& optimizer, std::string_view wanted) {
  Tensor found;
  optimizer.each_state([&](const std::string& name, const Tensor& state) {
    if (name == wanted) found = state;
  });
  EXPECT_TRUE(found.defined()) << wanted;
  return found;
}

// One growable parameter that has made `steps` steps of `Kind` on different gradients.
template <class Kind>
struct Experts {
  template <class Options>
  Experts(const Options& options, int64_t steps, const Shape& shape = {kRows, kRowSize})
      : group("experts", shape[0]),
        weight("w", testing::random_tensor(shape, DType::f64, 1), group, 8 * shape[0]),
        optimizer({{{&weight}, 1.0, 0.0}}, options) {
    for (int64_t step = 0; step < steps; ++step) take_step(static_cast<uint64_t>(10 + step));
  }

  void take_step(uint64_t seed) {
    set_gradient(testing::random_tensor(weight.value().shape(), DType::f64, seed));
    optimizer.step(kRate);
  }
  void set_gradient(const Tensor& gradient) {
    copy_elements(gradient, weight.gradient_slot().grad);
  }
  std::vector<double> row(int64_t index) const {
    const Tensor row = weight.value().rows(index, 1);
    return {row.elements<double>().begin(), row.elements<double>().end()};
  }
  std::vector<int64_t> steps() const {
    const Tensor step = state_of(optimizer, "w/step");
    return {step.elements<int64_t>().begin(), step.elements<int64_t>().end()};
  }
  Bits bits() const {
    Bits all{{"value", bytes_of(weight.value())}, {"gradient", bytes_of(weight.grad())}};
    optimizer.each_state(
        [&](const std::string& name, const Tensor& state) { all[name] = bytes_of(state); });
    return all;
  }

  GrowthGroup group;
  Parameter weight;
  Kind optimizer;
};

AdamOptions with(NewbornState state) { return {0.9, 0.999, 1e-8, state}; }

TEST(Newborn, StateGrowsAndShrinksWithTheGroup) {
  Experts<Adam> experts(with(NewbornState::inherit), 2);
  experts.group.duplicate(1);
  for (const char* name : {"w/exp_avg", "w/exp_avg_sq", "w/step"}) {
    EXPECT_EQ(state_of(experts.optimizer, name).dim(0), 4) << name;
  }
  const auto last = bytes_of(state_of(experts.optimizer, "w/exp_avg").rows(3, 1));
  experts.group.remove(0);
  EXPECT_EQ(state_of(experts.optimizer, "w/step").dim(0), 3);
  EXPECT_EQ(bytes_of(state_of(experts.optimizer, "w/exp_avg").rows(0, 1)), last);
}

TEST(Newborn, InheritMakesTheSourcesUpdate) {
  Experts<Adam> experts(with(NewbornState::inherit), 7);
  experts.set_gradient(testing::random_tensor({kRows, kRowSize}, DType::f64, 3));
  experts.group.duplicate(1);  // gradients are copied
  EXPECT_EQ(experts.steps(), (std::vector<int64_t>{7, 7, 7, 7}));
  experts.optimizer.step(kRate);
  EXPECT_EQ(experts.row(3), experts.row(1));
  EXPECT_EQ(experts.steps(), (std::vector<int64_t>{8, 8, 8, 8}));
}

TEST(Newborn, FreshMakesAFreshAdamsFirstUpdate) {
  Experts<Adam> experts(with(NewbornState::fresh), 7);
  const Tensor gradient = testing::random_tensor({kRows, kRowSize}, DType::f64, 3);
  experts.set_gradient(gradient);
  experts.group.duplicate(1);
  EXPECT_EQ(experts.steps().front(), 7);
  EXPECT_EQ(experts.steps().back(), 0);

  const std::vector<double> before = experts.row(3);
  Parameter alone("alone", experts.weight.value().rows(3, 1).clone());
  copy_elements(gradient.rows(1, 1), alone.gradient_slot().grad);
  Adam fresh({{{&alone}}}, with(NewbornState::fresh));
  for (int64_t t = 1; t <= 3; ++t) {
    fresh.step(kRate);
    experts.optimizer.step(kRate);
    if (t == 1) {  // by hand: as long as the rate, against the gradient's sign
      for (size_t i = 0; i < before.size(); ++i) {
        const double g = gradient.elements<double>()[kRowSize + i];
        EXPECT_NEAR(experts.row(3)[i], before[i] - std::copysign(kRate, g), 1e-8);
      }
    }
    EXPECT_EQ(bytes_of(experts.weight.value().rows(3, 1)), bytes_of(alone.value()));
    EXPECT_EQ(experts.steps().front(), 7 + t);
    EXPECT_EQ(experts.steps().back(), t);
  }
}

TEST(Newborn, ReferenceHasZeroMomentsAndTheSourcesCount) {
  Experts<Adam> experts(with(NewbornState::reference), 7);
  const Tensor gradient = testing::random_tensor({kRows, kRowSize}, DType::f64, 3);
  experts.set_gradient(gradient);
  const std::vector<double> before = experts.row(1);
  experts.group.duplicate(1);
  EXPECT_EQ(experts.steps(), (std::vector<int64_t>{7, 7, 7, 7}));
  experts.optimizer.step(kRate);
  const std::vector<double> after = experts.row(3);
  for (size_t i = 0; i < after.size(); ++i) {
    const double g = gradient.elements<double>()[kRowSize + i];
    const double m = 0.1 * g / (1 - std::pow(0.9, 8));
    const double v = 0.001 * g * g / (1 - std::pow(0.999, 8));
    EXPECT_NEAR(after[i], before[i] - kRate * m / (std::sqrt(v) + 1e-8), 1e-14);
  }
}

TEST(Newborn, ReferencesFirstStepIsTooLongOnceTheCountIsHigh) {
  // (1 - beta1) / sqrt(1 - beta2) = 3.16 times the rate.
  Experts<Adam> experts(with(NewbornState::reference), 1);
  const Tensor count = state_of(experts.optimizer, "w/step");
  for (int64_t& steps : count.elements<int64_t>()) steps = 100000;
  experts.set_gradient(Tensor::full({kRows, kRowSize}, DType::f64, 1.0));
  const std::vector<double> before = experts.row(0);
  experts.group.duplicate(0);
  experts.optimizer.step(kRate);
  EXPECT_NEAR((before[0] - experts.row(3)[0]) / kRate, 3.1623, 1e-4);
}

TEST(Newborn, SgdsMomentumIsInheritedOrZero) {
  for (const NewbornState state :
       {NewbornState::inherit, NewbornState::fresh, NewbornState::reference}) {
    Experts<Sgd> experts(SgdOptions{0.9, state}, 3);
    experts.group.duplicate(2);
    const Tensor momentum = state_of(experts.optimizer, "w/momentum");
    const auto source = bytes_of(momentum.rows(2, 1)), newborn = bytes_of(momentum.rows(3, 1));
    EXPECT_EQ(newborn, state == NewbornState::inherit
                           ? source
                           : std::vector<std::byte>(source.size(), std::byte{0}));
  }
}

TEST(Newborn, AppendedRowsStartFresh) {
  Experts<Adam> experts(with(NewbornState::inherit), 4);
  experts.group.append(2, [](std::string_view member, const Tensor& rows) {
    if (member == "w") copy_elements(Tensor::full(rows.shape(), DType::f64, 0.5), rows);
  });
  EXPECT_EQ(experts.steps(), (std::vector<int64_t>{4, 4, 4, 0, 0}));
  EXPECT_EQ(experts.row(4), std::vector<double>(kRowSize, 0.5));
}

TEST(Newborn, RemovedAgainEveryBitIsAsBefore) {
  for (const NewbornState state :
       {NewbornState::inherit, NewbornState::fresh, NewbornState::reference}) {
    Experts<Adam> experts(with(state), 3);
    const Bits before = experts.bits();
    const int64_t committed = storage_stats().growable_bytes;
    experts.group.duplicate(0);
    EXPECT_NE(experts.bits(), before);
    experts.group.remove(3);
    EXPECT_EQ(experts.bits(), before);
    EXPECT_EQ(storage_stats().growable_bytes, committed);
  }
}

TEST(Newborn, AFailureAnywhereLeavesEveryBit) {
  // 512 rows of a page each, so that the newborn needs a page of every tensor, the step counts'
  // included.
  constexpr int64_t kManyRows = 512, kPageDoubles = 512;
  Experts<Adam> experts(with(NewbornState::inherit), 1, {kManyRows, kPageDoubles});
  experts.weight.set_gradient_split(GradientSplit::project_rows);
  const Bits before = experts.bits();
  const int64_t committed = storage_stats().growable_bytes;
  constexpr int64_t kTensors = 5;  // value, gradient, two moments, step count
  for (int64_t successes = 0; successes < kTensors; ++successes) {
    testing::fail_commits_after(successes);
    EXPECT_THROW(experts.group.duplicate(7), Error) << successes;
    testing::fail_commits_after(-1);
    EXPECT_EQ(experts.bits(), before) << successes;
    EXPECT_EQ(storage_stats().growable_bytes, committed);
    EXPECT_EQ(experts.group.rows(), kManyRows);
    EXPECT_TRUE(experts.group.log().empty());
  }
  testing::fail_commits_after(kTensors);
  EXPECT_NO_THROW(experts.group.duplicate(7));
  testing::fail_commits_after(-1);
  EXPECT_EQ(experts.group.rows(), kManyRows + 1);
}

TEST(Newborn, AnOptimizerBuiltAfterAGrowthReadsTheShapes) {
  GrowthGroup group("experts", kRows);
  Parameter weight("w", testing::random_tensor({kRows, kRowSize}, DType::f64, 1), group);
  group.duplicate(0);
  const AdamW adam({{{&weight}}});
  EXPECT_EQ(state_of(adam, "w/exp_avg").shape(), (Shape{4, kRowSize}));
  EXPECT_EQ(state_of(adam, "w/step").shape(), (Shape{4}));
  group.remove(1);
  EXPECT_EQ(state_of(adam, "w/step").shape(), (Shape{3}));
}

TEST(Newborn, StateLeavesTheGroupWithItsOptimizer) {
  GrowthGroup group("experts", kRows);
  Parameter weight("w", testing::random_tensor({kRows, kRowSize}, DType::f64, 1), group);
  { const AdamW adam({{{&weight}}}); }
  EXPECT_EQ(group.duplicate(0), kRows);  // touches no dead member
  EXPECT_NO_THROW(AdamW({{{&weight}}}));
}

TEST(Newborn, NamesReadBack) {
  for (const NewbornState state :
       {NewbornState::inherit, NewbornState::fresh, NewbornState::reference}) {
    EXPECT_EQ(parse_newborn_state(to_string(state)), state);
  }
  EXPECT_THROW((void)parse_newborn_state("new"), Error);
}

}  // namespace
}  // namespace offshoot
