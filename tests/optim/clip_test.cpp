#include "optim/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"

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
  EXPECT_EQ(gradient_norm(model.all), 5.0);
  EXPECT_EQ(gradient_norm({}), 0.0);
}

TYPED_TEST(Clip, LongGradientsGetTheNormAskedFor) {
  Model<TypeParam> model;
  EXPECT_EQ(clip_gradients(model.all, 2.5), 5.0);
  const Tensor a = model.a.grad(), b = model.b.grad();
  EXPECT_EQ(a.template elements<TypeParam>()[0], TypeParam{1.5});
  EXPECT_EQ(a.template elements<TypeParam>()[1], TypeParam{0});
  EXPECT_EQ(b.item(), 2.0);
  EXPECT_FALSE(model.without.has_grad());
}

TYPED_TEST(Clip, ShortGradientsStay) {
  Model<TypeParam> model;
  EXPECT_EQ(clip_gradients(model.all, 5.0), 5.0);
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

TEST(ClipSum, IsTakenInFloat64) {
  // A sum of squares in float32 would be infinite.
  Parameter large("large", Tensor::zeros({3}, DType::f32));
  copy_elements(Tensor::full({3}, DType::f32, 1e30), large.gradient_slot().grad);
  Parameter* const all[] = {&large};
  EXPECT_NEAR(gradient_norm(all) / 1e30, std::sqrt(3.0), 1e-6);
}

}  // namespace
}  // namespace offshoot
