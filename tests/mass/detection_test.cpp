// What of a layer's gradients makes an expert drift: the monitored norm, change point, alignment.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/mass/fake_pools.h"

namespace offshoot {
namespace {

using testing::cosine_decides;
using testing::FakeGradient;
using testing::FakeGradients;
using testing::FakePools;

// The norms window, by row.
std::vector<double> last_norms(const MassController& controller, int64_t pushed) {
  std::vector<double> norms;
  controller.detector(0)->each_state([&](std::string_view name, const Tensor& tensor) {
    if (name != "norms") return;
    for (int64_t row = 0; row < tensor.dim(0); ++row) {
      norms.push_back(tensor.data<double>()[row * tensor.dim(1) + (pushed - 1) % tensor.dim(1)]);
    }
  });
  return norms;
}

std::vector<int64_t> sources(const std::vector<GrowthEvent>& events) {
  std::vector<int64_t> ids;
  for (const GrowthEvent& event : events) ids.push_back(event.source);
  return ids;
}

MassOptions change_points(MassPreset preset) {
  MassOptions options = cosine_decides(preset);
  options.change_point = true;
  options.warmup = 2;
  options.alpha = 0.2;  // two rises in a row: s = 1, p = 0.159; one: s = 0.5, p = 0.309
  return options;
}

TEST(Detection, AChangePointNeedsASmallPValueAndADriftASmallCosine) {
  FakePools pools(change_points(MassPreset::reference), 3);
  pools.advance({{{0, {1, 0}}, {1, {1, 1}}, {2, {1, 0}}}});
  pools.advance({{{0, {0.5, 0}}, {1, {2, 1}}, {2, {2, 0}}}});
  // 0 fell, 1 is aligned, 2 rose twice and is orthogonal.
  const auto events = pools.advance({{{0, {0.7, 0}}, {1, {3, 1}}, {2, {3, 0}}}});
  ASSERT_EQ(sources(events), (std::vector<int64_t>{2}));
  EXPECT_NEAR(events[0].p_value, 0.158655253931457, 1e-12);
}

TEST(Detection, WithoutAlignmentEveryChangePointIsADrift) {
  MassOptions options = change_points(MassPreset::reference);
  options.alignment = false;
  FakePools pools(options, 2);
  for (const double norm : {1.0, 2.0}) pools.advance({{{0, {1 / norm, 1}}, {1, {norm, 1}}}});
  const auto events = pools.advance({{{0, {0.1, 1}}, {1, {3, 1}}}});
  ASSERT_EQ(sources(events), (std::vector<int64_t>{1}));
  EXPECT_NEAR(events[0].cosine, 1.0, 1e-12);  // observable all the same
}

TEST(Detection, TheCosineCountsByItsSize) {
  for (const double cosine : {0.3, -0.3}) {
    MassOptions options = cosine_decides(MassPreset::reference);
    options.delta = 0.29;
    FakePools above(options, 1);
    options.delta = 0.31;
    FakePools below(options, 1);
    options.scale_delta_by_dim = true;  // 0.31 / sqrt(6) = 0.127
    FakePools scaled(options, 1);
    for (FakePools* pools : {&above, &below, &scaled}) {
      pools->advance({FakeGradients{}});
      const auto events = pools->advance({{{0, {1, cosine}}}});
      EXPECT_EQ(events.size(), pools == &below ? 1u : 0u);
    }
    const auto events = scaled.advance({{{0, {1, cosine / 2.4}}}});  // 0.125
    ASSERT_EQ(events.size(), 1u);
    EXPECT_NEAR(events[0].cosine, cosine / 2.4, 1e-12);
  }
}

TEST(Detection, AZeroGradientHasNoCosine) {
  FakePools paper(cosine_decides(MassPreset::paper), 1);
  paper.advance({FakeGradients{}});
  EXPECT_TRUE(paper.advance({{{0, {.norm = 0}}}}).empty());
  FakePools reference(cosine_decides(MassPreset::reference), 1);
  reference.advance({FakeGradients{}});
  const auto events = reference.advance({{{0, {.norm = 0}}}});
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].cosine, 0.0);
}

TEST(Detection, AZeroWeightHasNoCosine) {
  for (const MassPreset preset : {MassPreset::paper, MassPreset::reference}) {
    FakePools pools(cosine_decides(preset), 1);
    fill_zero(pools.layer().fc1_weight().value());
    pools.advance({FakeGradients{}});
    EXPECT_EQ(pools.advance({FakeGradients{}}).size(), preset == MassPreset::paper ? 0u : 1u);
  }
}

TEST(Detection, AnExpertWithoutTokensIsObservedByTheReferenceOnly) {
  const FakeGradients idle = {{0, {.cosine = 0, .tokens = 0}}}, busy = {{0, {.cosine = 0}}};
  FakePools reference(cosine_decides(MassPreset::reference), 2);
  EXPECT_TRUE(reference.advance({idle}).empty());
  EXPECT_EQ(reference.advance({idle}).size(), 1u);
  FakePools paper(cosine_decides(MassPreset::paper), 2);
  EXPECT_TRUE(paper.advance({idle}).empty());
  EXPECT_TRUE(paper.advance({idle}).empty());
  EXPECT_TRUE(paper.advance({busy}).empty());  // the first observation
  EXPECT_EQ(paper.advance({busy}).size(), 1u);
}

// Norms as each preset monitors them, from gradients in every parameter.
TEST(Detection, TheMonitoredNorm) {
  for (const MassPreset preset : {MassPreset::paper, MassPreset::reference}) {
    MassOptions options = cosine_decides(preset);
    options.delta = 1e-30;
    FakePools pools(options, 2, 1, true);
    MoeLayer& layer = pools.layer();
    double scale = 1.0;
    std::vector<double> squares(2, 0.0);
    layer.each_parameter([&](Parameter& p) {
      const Tensor grad = p.gradient_slot().grad;
      const bool gate = p.name().find("gate") != std::string::npos;
      const bool counts = preset == MassPreset::paper ? !gate : p.name() == "a.fc1.weight";
      const int64_t each = grad.size() / 2;
      for (int64_t i = 0; i < grad.size(); ++i) {
        const double g = scale * static_cast<double>(i + 1);
        grad.data<double>()[i] = g;
        if (counts) squares[static_cast<size_t>(i / each)] += g * g;
      }
      scale *= 1.7;
    });
    pools.controller().grow(0, {{1, 1}}, 1.0, {});
    const auto norms = last_norms(pools.controller(), 1);
    ASSERT_EQ(norms.size(), 2u);
    for (size_t row = 0; row < 2; ++row) {
      EXPECT_NEAR(norms[row], std::sqrt(squares[row]), 1e-12 * norms[row]);
    }
  }
}

TEST(Detection, ANewbornAndItsSourceWaitForTheirObservations) {
  MassOptions options = cosine_decides(MassPreset::reference);
  options.warmup = 3;
  FakePools pools(options, 1);
  const FakeGradients drifting = {{0, {1, 0}}, {1, {1, 0}}};
  EXPECT_TRUE(pools.advance({drifting}).empty());
  EXPECT_TRUE(pools.advance({drifting}).empty());
  EXPECT_EQ(pools.advance({drifting}).size(), 1u);  // step 2: three observations
  EXPECT_TRUE(pools.advance({drifting}).empty());
  EXPECT_TRUE(pools.advance({drifting}).empty());
  const auto events = pools.advance({drifting});  // both have three again, the elder goes
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].source, 0);
  EXPECT_EQ(events[0].step, 5);
}

}  // namespace
}  // namespace offshoot
