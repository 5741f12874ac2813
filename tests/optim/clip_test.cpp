#include "optim/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

// Gradients (3, 0) and (4), and a parameter without one.
template <class T>
struct Model {
  Parameter a{"a", Tensor::zeros({2}, dtype_of<T>)};
  Parameter b{"b", Tensor::zeros({1, 1}, dtype_of<T>)};
  Parameter without{"without", Tensor::zeros({7}, dtype_of<T>)};
  std::vector<Parameter*> all{&a, &without, &b};

  Model() {
    copy_elements(Tensor::from<T>({2}, {3, 0}), a.gradient_slot().grad);
    copy_elements(Tensor::from<T>({1, 1}, {4}), b.gradient_slot().grad);
  }
};

template <class T>
class Clip : public ::testing::Test {};
using Floats = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Clip, Floats);

TYPED_TEST(Clip, NormIsOverAllGradientsTogether) {
  Model<TypeParam> model;
  EXPECT_EQ(gradient_norm(model.all).item(), 5.0);
  EXPECT_EQ(gradient_norm({}).item(), 0.0);
}

TYPED_TEST(Clip, LongGradientsGetTheNormAskedFor) {
  Model<TypeParam> model;
  EXPECT_EQ(clip_gradients(model.all, 2.5).item(), 5.0);
  const Tensor a = model.a.grad(), b = model.b.grad();
  EXPECT_EQ(a.template elements<TypeParam>()[0], TypeParam{1.5});
  EXPECT_EQ(a.template elements<TypeParam>()[1], TypeParam{0});
  EXPECT_EQ(b.item(), 2.0);
  EXPECT_FALSE(model.without.has_grad());
}

TYPED_TEST(Clip, ShortGradientsStay) {
  Model<TypeParam> model;
  EXPECT_EQ(clip_gradients(model.all, 5.0).item(), 5.0);
  EXPECT_EQ(model.b.grad().item(), 4.0);
}

TYPED_TEST(Clip, RefusesWhatIsNotFiniteAndChangesNothing) {
  Model<TypeParam> model;
  const Tensor a = model.a.grad();
  a.template elements<TypeParam>()[1] = std::numeric_limits<TypeParam>::quiet_NaN();
  EXPECT_THROW(clip_gradients(model.all, 1.0), Error);
  EXPECT_EQ(model.b.grad().item(), 4.0);
  EXPECT_THROW(clip_gradients(model.all, 0.0), Error);
  EXPECT_THROW(clip_gradients(model.all, std::numeric_limits<double>::quiet_NaN()), Error);
}

TYPED_TEST(Clip, RefusesWhereTheGuardIsNotFinite) {
  Model<TypeParam> model;
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_THROW(clip_gradients(model.all, 1.0, Tensor::scalar(infinity, DType::f32)), Error);
  EXPECT_EQ(model.b.grad().item(), 4.0);
  EXPECT_THROW(clip_gradients(model.all, 1.0, Tensor::zeros({2}, DType::f32)), Error);
  EXPECT_EQ(clip_gradients(model.all, 2.5, Tensor::scalar(1, DType::f32)).item(), 5.0);
  EXPECT_EQ(model.b.grad().item(), 2.0);
}

TEST(ClipSum, IsTakenInFloat64) {
  // A sum of squares in float32 would be infinite.
  Parameter large("large", Tensor::zeros({3}, DType::f32));
  copy_elements(Tensor::full({3}, DType::f32, 1e30), large.gradient_slot().grad);
  Parameter* const all[] = {&large};
  EXPECT_NEAR(gradient_norm(all).item() / 1e30, std::sqrt(3.0), 1e-6);
}

using testing::kCuda;

// Gradients of odd sizes, one of more than a block's work, and a parameter without one.
struct Gradients {
  explicit Gradients(Device device, double factor = 1.0,
                     const std::vector<int64_t>& sizes = {1, 7, 16384 + 13, 40000}) {
    for (const int64_t size : sizes) {
      Parameter& p = parameters.emplace_back("p" + std::to_string(parameters.size()),
                                             Tensor::zeros({size}, DType::f32, device));
      all.push_back(&p);
      const Tensor numbers = testing::random_tensor({size}, DType::f32, parameters.size());
      for (float& g : numbers.elements<float>()) g *= static_cast<float>(factor);
      copy_elements(numbers, p.gradient_slot().grad);
    }
    all.push_back(&parameters.emplace_back("idle", Tensor::zeros({3}, DType::f32, device)));
  }

  std::vector<float> values() const {
    std::vector<float> values;
    for (const Parameter* p : all) {
      const Tensor grad = p->grad().to(Device{});
      values.insert(values.end(), grad.elements<float>().begin(), grad.elements<float>().end());
    }
    return values;
  }

  std::deque<Parameter> parameters;
  std::vector<Parameter*> all;
};

void expect_follows_the_cpu(const std::vector<int64_t>& sizes) {
  for (const double max_norm : {1.0, 1e3}) {
    const Gradients cpu(Device{}, 1.0, sizes), cuda(kCuda, 1.0, sizes);
    const int64_t waits = device_waits();
    const Tensor norm = gradient_norm(cuda.all), before = clip_gradients(cuda.all, max_norm);
    EXPECT_EQ(device_waits(), waits);
    EXPECT_EQ(norm.dtype(), DType::f64);
    EXPECT_EQ(norm.device(), kCuda);
    EXPECT_EQ(norm.shape(), Shape{});
    const double expected = clip_gradients(cpu.all, max_norm).item();
    EXPECT_NEAR(norm.item(), expected, 1e-12 * expected);
    EXPECT_EQ(before.item(), norm.item());
    const std::vector<float> got = cuda.values(), wanted = cpu.values();
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 1e-6);
    EXPECT_FALSE(cuda.all.back()->has_grad());
  }
}

TEST(ClipCuda, NormAndGradientsAreTheCpus) {
  OFFSHOOT_NEEDS_CUDA();
  expect_follows_the_cpu({1, 7, 16384 + 13, 40000});
}

// More than a block has threads.
TEST(ClipCuda, ManyParametersAllCount) {
  OFFSHOOT_NEEDS_CUDA();
  std::vector<int64_t> sizes(300);
  for (size_t i = 0; i < sizes.size(); ++i) sizes[i] = 1 + static_cast<int64_t>(i % 3);
  expect_follows_the_cpu(sizes);
}

TEST(ClipCuda, TheSumIsTakenInFloat64) {
  OFFSHOOT_NEEDS_CUDA();
  const Gradients large(kCuda, 1e30), plain(kCuda);
  EXPECT_NEAR(gradient_norm(large.all).item() / 1e30 / gradient_norm(plain.all).item(), 1.0, 1e-6);
}

TEST(ClipCuda, NothingHasTheNormZero) {
  OFFSHOOT_NEEDS_CUDA();
  Parameter idle("idle", Tensor::zeros({3}, DType::f32, kCuda));
  Parameter* const all[] = {&idle};
  const Tensor norm = clip_gradients(all, 1.0);
  EXPECT_EQ(norm.device(), kCuda);
  EXPECT_EQ(norm.item(), 0.0);
  EXPECT_FALSE(idle.has_grad());
}

TEST(ClipCuda, WhatIsNotFiniteShowsInTheNormAndChangesNothing) {
  OFFSHOOT_NEEDS_CUDA();
  const Gradients model(kCuda);
  const std::vector<float> before = model.values();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const double loss : {nan, infinity}) {
      const Tensor guard = Tensor::full({}, dtype, loss, kCuda);
      EXPECT_TRUE(std::isnan(clip_gradients(model.all, 1.0, guard).item()));
      EXPECT_EQ(model.values(), before);
    }
  }
  for (const double bad : {nan, infinity}) {
    Parameter& p = *model.all[2];
    copy_elements(Tensor::full({1}, DType::f32, bad), p.grad().rows(16384 + 12, 1));
    EXPECT_FALSE(std::isfinite(clip_gradients(model.all, 1.0).item()));
    copy_elements(Tensor::full({1}, DType::f32, before[1 + 7 + 16384 + 12]),
                  p.grad().rows(16384 + 12, 1));
    EXPECT_EQ(model.values(), before);
  }
  EXPECT_THROW(clip_gradients(model.all, 0.0), Error);
  EXPECT_THROW(clip_gradients(model.all, 1.0, Tensor::zeros({}, DType::f32)), Error);
  EXPECT_GT(clip_gradients(model.all, 1.0, Tensor::zeros({}, DType::f32, kCuda)).item(), 1.0);
  EXPECT_NE(model.values(), before);
}

TEST(ClipCuda, RefusesParametersOfTwoDevices) {
  OFFSHOOT_NEEDS_CUDA();
  Parameter here("here", Tensor::zeros({2}, DType::f32));
  Parameter there("there", Tensor::zeros({2}, DType::f32, kCuda));
  Parameter* const both[] = {&here, &there};
  EXPECT_THROW(gradient_norm(both), Error);
  EXPECT_THROW(clip_gradients(both, 1.0), Error);
}

}  // namespace
}  // namespace offshoot
