#include "ops/expert_stats.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

Tensor as_tensor(const std::vector<double>& values) {
  return Tensor::from<double>({static_cast<int64_t>(values.size())},
                              std::span<const double>(values));
}

TEST(ExpertStats, MatchesGoldenValues) {
  testing::expect_matches_golden("expert_stats", [](Tape&, const testing::GoldenCase& golden) {
    const Tensor grad = golden["grad"], weight = golden["weight"];
    return testing::NamedTensors{{"norm", as_tensor(expert_norms(std::vector{grad}))},
                                 {"cosine", as_tensor(expert_cosines(grad, weight))},
                                 {"projection", project_rows(grad, weight)}};
  });
}

TEST(ExpertStats, NormsAreOverAllTensorsTogether) {
  const Tensor fc1 = Tensor::from<float>({2, 2}, {3, 0, 0, 0});
  const Tensor bias = Tensor::from<float>({2}, {4, -2});
  EXPECT_EQ(expert_norms(std::vector{fc1, bias}), (std::vector<double>{5, 2}));
}

TEST(ExpertStats, ZeroHasNoDirection) {
  const Tensor a = Tensor::from<double>({2, 2}, {0, 0, 1, 1});
  const Tensor b = Tensor::from<double>({2, 2}, {1, 2, -1, -1});
  const std::vector<double> cosines = expert_cosines(a, b);
  EXPECT_TRUE(std::isnan(cosines[0]));
  EXPECT_NEAR(cosines[1], -1.0, 1e-15);
}

TEST(ExpertStats, NamesWhatIsWrong) {
  const Tensor a({2, 3}, DType::f32), b({3, 3}, DType::f32);
  EXPECT_EQ(testing::error_text([&] {
              expert_norms(std::vector{a, b});
            }),
            "[expert_norms] gradient: got 3 experts, expected 2");
  EXPECT_EQ(testing::error_text([&] { expert_cosines(a, b); }),
            "[expert_cosines] b: got shape [3, 3], expected [2, 3]");
  EXPECT_EQ(testing::error_text([&] { expert_norms({}); }),
            "[expert_norms] gradients: got none, expected at least one");
}

}  // namespace
}  // namespace offshoot
