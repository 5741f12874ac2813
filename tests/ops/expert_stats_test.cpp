#include "ops/expert_stats.h"

#include <gtest/gtest.h>

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
