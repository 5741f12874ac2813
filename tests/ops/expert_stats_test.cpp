#include "ops/expert_stats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "engine/parallel.h"
#include "engine/parameter.h"
#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::random_tensor;

TEST(ExpertStats, MatchGoldenValues) {
  const testing::GoldenFunction function = [](Tape&, const testing::GoldenCase& golden) {
    const Tensor &grad = golden["grad"], &weight = golden["weight"];
    const Tensor grads[] = {grad};
    // The reports are float64 whatever the tensors are; here they are compared in the run's dtype.
    const auto in_dtype = [&golden](const std::vector<double>& values) {
      const Tensor out({static_cast<int64_t>(values.size())}, golden.dtype());
      dispatch_float("test", golden.dtype(), [&]<class T>(T) {
        for (size_t i = 0; i < values.size(); ++i) out.data<T>()[i] = static_cast<T>(values[i]);
      });
      return out;
    };
    return testing::NamedTensors{{"norm", in_dtype(expert_norms(grads))},
                                 {"cosine", in_dtype(expert_cosines(grad, weight))},
                                 {"projection", project_rows(grad, weight)}};
  };
  testing::expect_matches_golden("expert_stats", function);
}

TEST(ExpertStats, NormsGoOverAllTensorsTogether) {
  const Tensor tensors[] = {Tensor::from<float>({2, 2}, {3, 0, 1, 2}),
                            Tensor::from<double>({2, 1}, {4, 2})};
  EXPECT_EQ(expert_norms(tensors), (std::vector<double>{5, 3}));
}

TEST(ExpertStats, FollowPlainSumsAtAnySizeAndThreadCount) {
  const int threads = num_threads();
  for (const Shape& shape : {Shape{1, 1}, {3, 7}, {2, 31, 67}, {3, 8192}, {2, 131, 131}}) {
    const Tensor a = random_tensor(shape, DType::f32, 1), b = random_tensor(shape, DType::f32, 2);
    const int64_t E = shape[0], count = a.size() / E;
    const Tensor tensors[] = {a, b};
    set_num_threads(1);
    const auto norms = expert_norms(tensors), cosines = expert_cosines(a, b);
    set_num_threads(3);
    EXPECT_EQ(expert_norms(tensors), norms);
    EXPECT_EQ(expert_cosines(a, b), cosines);
    for (int64_t e = 0; e < E; ++e) {
      double aa = 0, bb = 0, ab = 0;
      for (int64_t i = e * count; i < (e + 1) * count; ++i) {
        const double x = a.data<float>()[i], y = b.data<float>()[i];
        aa += x * x, bb += y * y, ab += x * y;
      }
      EXPECT_NEAR(norms[static_cast<size_t>(e)], std::sqrt(aa + bb), 1e-12 * std::sqrt(aa + bb));
      EXPECT_NEAR(cosines[static_cast<size_t>(e)], ab / std::sqrt(aa * bb), 1e-14);
    }
  }
  set_num_threads(threads);
}

TEST(ExpertStats, ZeroHasNoCosine) {
  const Tensor a = Tensor::from<double>({3, 2}, {1, 1, 0, 0, 1, 0});
  const Tensor b = Tensor::from<double>({3, 2}, {0, 0, 1, 0, -2, 0});
  const auto cosines = expert_cosines(a, b);
  EXPECT_TRUE(std::isnan(cosines[0]));
  EXPECT_TRUE(std::isnan(cosines[1]));
  EXPECT_EQ(cosines[2], -1);
}

// What a duplication leaves to the source (engine/row_tensor.h) is this projection.
TEST(ExpertStats, ProjectionIsWhatADuplicationLeaves) {
  const Shape shape{3, 5, 7};
  GrowthGroup group("experts", 3);
  Parameter weight("w", random_tensor(shape, DType::f64, 1), group);
  weight.set_gradient_split(GradientSplit::project_rows);
  copy_elements(random_tensor(shape, DType::f64, 2), weight.gradient_slot().grad);
  const Tensor expected = project_rows(weight.grad(), weight.value());
  group.duplicate(1);
  EXPECT_LT(testing::relative_error(weight.grad().rows(1, 1), expected.rows(1, 1)), 1e-14);
}

TEST(ExpertStats, ProjectionIsTheIdentityOnMultiples) {
  const Tensor w = random_tensor({4, 9}, DType::f64, 1), g = w.clone();
  for (double& value : g.elements<double>()) value *= -3;
  EXPECT_LT(testing::relative_error(project_rows(g, w), g), 1e-12);
  EXPECT_EQ(
      project_rows(Tensor::zeros({1, 2}, DType::f64), Tensor::zeros({1, 2}, DType::f64)).size(), 2);
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t e = 0; e < got.size(); ++e) EXPECT_NEAR(got[e], expected[e], 1e-12 * got[e]) << e;
}

TEST(ExpertStatsCuda, NormsAndCosinesFollowTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Shape& shape :
       {Shape{1, 1}, {3, 7}, {2, 31, 67}, {3, 8192}, {2, 131, 131}, {257, 3}}) {
    const Tensor a = random_tensor(shape, DType::f32, 1), b = random_tensor(shape, DType::f32, 2);
    const Tensor a_there = a.to(testing::kCuda), b_there = b.to(testing::kCuda);
    std::vector<Tensor> here, there;
    // More than one launch takes, of several sizes, one of them empty.
    for (uint64_t k = 0; k < 19; ++k) {
      here.push_back(k % 3 == 0 ? a
                     : k % 3 == 1
                         ? random_tensor({shape[0], static_cast<int64_t>(k)}, DType::f32, k)
                         : b);
      if (k == 7) here.back() = Tensor({shape[0], 0}, DType::f32);
      there.push_back(here.back().to(testing::kCuda));
    }
    const int64_t before = device_waits();
    const auto norms = expert_norms(there), cosines = expert_cosines(a_there, b_there);
    EXPECT_EQ(device_waits(), before + 2);
    expect_near(norms, expert_norms(here));
    const auto expected = expert_cosines(a, b);
    for (size_t e = 0; e < expected.size(); ++e) EXPECT_NEAR(cosines[e], expected[e], 1e-14);
    EXPECT_EQ(expert_norms(there), norms);
    EXPECT_EQ(expert_cosines(a_there, b_there), cosines);
  }
}

TEST(ExpertStatsCuda, TakeBfloat16) {
  OFFSHOOT_NEEDS_CUDA();
  const auto bf16 = [](std::initializer_list<float> values) {
    Tensor tensor({2, 2}, DType::bf16);
    std::ranges::transform(values, tensor.data<bfloat16>(), to_bfloat16);
    return tensor.to(testing::kCuda);
  };
  const Tensor tensors[] = {bf16({3, 0, 1, 2}),
                            Tensor::from<float>({2, 1}, {4, 2}).to(testing::kCuda)};
  EXPECT_EQ(expert_norms(tensors), (std::vector<double>{5, 3}));
  EXPECT_EQ(expert_cosines(bf16({1, 0, 3, 4}), bf16({-2, 0, 8, 6})),
            (std::vector<double>{-1, 0.96}));
}

TEST(ExpertStatsCuda, ZeroHasNoCosineAndNaNIsNamed) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor a = Tensor::from<float>({3, 2}, {1, 1, 0, 0, 1, 0}).to(testing::kCuda);
  const Tensor b = Tensor::from<float>({3, 2}, {0, 0, 1, 0, -2, 0}).to(testing::kCuda);
  const auto cosines = expert_cosines(a, b);
  EXPECT_TRUE(std::isnan(cosines[0]));
  EXPECT_TRUE(std::isnan(cosines[1]));
  EXPECT_EQ(cosines[2], -1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor bad = Tensor::from<float>({2, 1}, {1, nan}).to(testing::kCuda);
  const Tensor tensors[] = {bad};
  EXPECT_EQ(testing::error_text([&] { expert_norms(tensors); }),
            "[expert_norms] expert 1: got nan");
  EXPECT_EQ(testing::error_text([&] { expert_cosines(bad, bad); }),
            "[expert_cosines] expert 1: got nan");
}

TEST(ExpertStatsCuda, ProjectionFollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Shape& shape : {Shape{1, 1}, {3, 7}, {2, 31, 67}, {5, 1024}, {3, 1025}, {0, 3}}) {
    const Tensor g = random_tensor(shape, DType::f32, 1), w = random_tensor(shape, DType::f32, 2);
    const Tensor got = project_rows(g.to(testing::kCuda), w.to(testing::kCuda));
    EXPECT_LT(testing::relative_error(got.to(Device{}), project_rows(g, w)), 1e-6)
        << to_string(shape);
  }
}

// The kernel is the same, in place.
TEST(ExpertStatsCuda, ProjectionIsWhatADuplicationLeaves) {
  OFFSHOOT_NEEDS_CUDA();
  const Shape shape{3, 5, 7};
  GrowthGroup group("experts", 3);
  Parameter weight("w", random_tensor(shape, DType::f32, 1).to(testing::kCuda), group);
  weight.set_gradient_split(GradientSplit::project_rows);
  copy_elements(random_tensor(shape, DType::f32, 2), weight.gradient_slot().grad);
  const Tensor expected = project_rows(weight.grad(), weight.value()).to(Device{});
  group.duplicate(1);
  const Tensor got = weight.grad().to(Device{});
  EXPECT_EQ(testing::relative_error(got.rows(1, 1), expected.rows(1, 1)), 0.0);
}

TEST(ExpertStats, NamesWhatIsWrong) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor bad = Tensor::from<double>({2, 1}, {1, nan}),
               good = Tensor::zeros({2, 1}, DType::f64);
  const Tensor tensors[] = {good, bad}, uneven[] = {good, Tensor::zeros({3, 1}, DType::f64)};
  const auto text = [](const std::function<void()>& f) { return testing::error_text(f); };
  EXPECT_EQ(text([&] { expert_norms(tensors); }), "[expert_norms] expert 1: got nan");
  EXPECT_EQ(text([&] { expert_norms(uneven); }),
            "[expert_norms] tensor: got 3 experts, expected 2");
  EXPECT_EQ(text([&] { expert_norms({}); }), "[expert_norms] got no tensor, expected at least one");
  EXPECT_EQ(text([&] {
              expert_cosines(bad, Tensor::full({2, 1}, DType::f64, 1));
            }),
            "[expert_cosines] expert 1: got nan");
  EXPECT_EQ(text([&] {
              expert_cosines(good, Tensor::zeros({2, 2}, DType::f64));
            }),
            "[expert_cosines] b: got shape [2, 2], expected [2, 1]");
  EXPECT_EQ(text([&] { project_rows(bad, bad); }), "[project_rows] row 1: got nan");
}

}  // namespace
}  // namespace offshoot
