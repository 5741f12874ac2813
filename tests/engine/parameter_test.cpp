#include "engine/parameter.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr int64_t kRows = 3;

Tensor two_numbers() { return Tensor::from<float>({2}, {1, 2}); }

Tensor matrix() { return Tensor::from<float>({kRows, 2}, {1, 2, 3, 4, 5, 6}); }

std::vector<float> values(const Tensor& tensor) {
  const auto elements = tensor.elements<float>();
  return {elements.begin(), elements.end()};
}

void contribute(Parameter& parameter, float value) {
  const GradSlot slot = parameter.gradient_slot();
  for (float& g : slot.grad.elements<float>()) g = slot.overwrite ? value : g + value;
}

TEST(Parameter, TheFirstContributionOverwritesAndLaterOnesAdd) {
  testing::poison_storage(true);
  GrowthGroup group("experts", kRows);
  Parameter fixed("fixed", two_numbers()), growable("growable", matrix(), group);
  for (Parameter* p : {&fixed, &growable}) {
    EXPECT_FALSE(p->has_grad());
    EXPECT_EQ(values(p->grad()), std::vector<float>(static_cast<size_t>(p->value().size()), 0));
    contribute(*p, 2);
    contribute(*p, 3);
    EXPECT_TRUE(p->has_grad());
    EXPECT_EQ(values(p->grad())[1], 5);
    p->zero_grad();
    EXPECT_FALSE(p->has_grad());
    EXPECT_EQ(values(p->grad())[1], 0);
    contribute(*p, 7);
    EXPECT_EQ(values(p->grad())[1], 7);
  }
#ifndef OFFSHOOT_POISON
  testing::poison_storage(false);
#endif
}

TEST(Parameter, NotTrainableHasNoGradientAndNoMemoryForOne) {
  GrowthGroup group("experts", kRows);
  Parameter fixed("fixed", two_numbers()), growable("growable", matrix(), group);
  const int64_t with_grad = storage_stats().growable_bytes;
  for (Parameter* p : {&fixed, &growable}) {
    contribute(*p, 1);
    p->set_trainable(false);
    EXPECT_FALSE(p->trainable());
    EXPECT_FALSE(p->has_grad());
    EXPECT_FALSE(p->gradient_slot());
    EXPECT_THROW((void)p->grad(), Error);
  }
  EXPECT_LT(storage_stats().growable_bytes, with_grad);
}

TEST(Parameter, TrainableAgainStartsWithoutAGradient) {
  GrowthGroup group("experts", kRows);
  Parameter fixed("fixed", two_numbers()), growable("growable", matrix(), group);
  growable.set_gradient_split(GradientSplit::keep_zero);
  for (Parameter* p : {&fixed, &growable}) {
    const std::vector<float> before = values(p->value());
    contribute(*p, 1);
    p->set_trainable(false);
    p->set_trainable(true);
    p->set_trainable(true);  // again: nothing
    EXPECT_EQ(values(p->value()), before);
    EXPECT_FALSE(p->has_grad());
    contribute(*p, 4);
    EXPECT_EQ(values(p->grad())[0], 4);
  }
  // The gradient is a member of the group again, with the split it had.
  group.duplicate(1);
  EXPECT_EQ(growable.grad().shape(), (Shape{kRows + 1, 2}));
  EXPECT_EQ(values(growable.grad().rows(kRows, 1)), (std::vector<float>{0, 0}));
}

TEST(Parameter, GrowsWhileItIsNotTrainable) {
  GrowthGroup group("experts", kRows);
  Parameter p("p", matrix(), group);
  p.set_trainable(false);
  group.duplicate(0);
  EXPECT_EQ(p.value().shape(), (Shape{kRows + 1, 2}));
  p.set_trainable(true);
  EXPECT_EQ(p.grad().shape(), (Shape{kRows + 1, 2}));
}

TEST(Parameter, JoinsItsGroupWithValueAndGradient) {
  GrowthGroup group("experts", kRows);
  Parameter p("p", matrix(), group, 16);
  EXPECT_TRUE(p.growable());
  EXPECT_EQ(p.group(), &group);
  EXPECT_GE(p.reserve_rows(), 16);
  const uint64_t generation = p.generation();
  contribute(p, 1);
  group.duplicate(2);
  EXPECT_NE(p.generation(), generation);
  EXPECT_EQ(values(p.value().rows(kRows, 1)), (std::vector<float>{5, 6}));
  EXPECT_TRUE(p.has_grad());
  EXPECT_EQ(p.grad().dim(0), kRows + 1);
}

TEST(Parameter, TakesOverWhatItIsGiven) {
  const Tensor initial = two_numbers();
  Parameter fixed("fixed", initial);
  EXPECT_EQ(fixed.value().key(), initial.key());
  EXPECT_FALSE(fixed.growable());
  EXPECT_EQ(fixed.reserve_rows(), 0);
  EXPECT_THROW(fixed.set_gradient_split(GradientSplit::keep_zero), Error);
}

TEST(Parameter, RefusesWhatCannotBe) {
  GrowthGroup group("experts", kRows);
  EXPECT_THROW(Parameter("p", Tensor::zeros({2}, DType::i32)), Error);
  EXPECT_THROW(Parameter("p", Tensor::zeros({kRows}, DType::i64), group), Error);
  EXPECT_THROW(Parameter("p", Tensor::zeros({kRows + 1, 2}, DType::f32), group), Error);
  EXPECT_THROW(Parameter("p", Tensor::zeros({}, DType::f32), group), Error);
  EXPECT_THROW(Parameter("p", Tensor::zeros({kRows, 0}, DType::f32), group), Error);
  EXPECT_EQ(group.duplicate(0), kRows);  // the failed ones left nothing behind
}

TEST(Parameter, OneClaimAtATime) {
  Parameter p("p", two_numbers());
  {
    Parameter::Claim claim(p);
    EXPECT_THROW(Parameter::Claim second(p), Error);
    Parameter::Claim moved = std::move(claim);
    EXPECT_THROW(Parameter::Claim second(p), Error);
    EXPECT_THROW(p.set_trainable(false), Error);
    EXPECT_TRUE(p.trainable());
  }
  const Parameter::Claim again(p);
}

}  // namespace
}  // namespace offshoot
