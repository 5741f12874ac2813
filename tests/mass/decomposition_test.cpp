// How a duplication divides the gradients of each member, against the operation that specifies it.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/testing/gradcheck.h"
#include "mass/controller.h"
#include "ops/expert_stats.h"

namespace offshoot {
namespace {

using testing::random_tensor;
using testing::relative_error;

constexpr int64_t kExperts = 3, kSource = 1;

enum class Share { projected_rows, projected_whole, copied, zero };

struct Expected {
  Decomposition decomposition;
  Share fc1, fc2, bias, gate;
};

Tensor row(const Tensor& tensor, int64_t index) { return tensor.rows(index, 1).clone(); }

// What the source keeps of G along w.
Tensor projected(Share share, const Tensor& g, const Tensor& w) {
  if (share == Share::projected_rows) return project_rows(g, w);
  const Shape flat{1, g.size()};
  return project_rows(g.view(flat), w.view(flat)).view(g.shape());
}

void expect_divided(Parameter& p, Share share, const Tensor& value, const Tensor& grad) {
  const double tolerance = p.dtype() == DType::f64 ? 1e-14 : 1e-6;
  const Tensor g = row(grad, kSource), w = row(value, kSource);
  const Tensor kept = row(p.grad(), kSource), newborn = row(p.grad(), kExperts);
  for (const int64_t other : {0, 2}) {
    EXPECT_EQ(relative_error(row(p.grad(), other), row(grad, other)), 0.0) << p.name();
  }
  for (const int64_t copy : {kSource, kExperts}) {
    EXPECT_EQ(relative_error(row(p.value(), copy), w), 0.0) << p.name();
  }
  if (share == Share::zero) {
    EXPECT_EQ(relative_error(kept, g), 0.0) << p.name();
    EXPECT_EQ(relative_error(newborn, Tensor::zeros(g.shape(), g.dtype())), 0.0) << p.name();
    return;
  }
  EXPECT_EQ(relative_error(newborn, g), 0.0) << p.name();
  if (share == Share::copied) {
    EXPECT_EQ(relative_error(kept, g), 0.0) << p.name();
  } else {
    EXPECT_LT(relative_error(kept, projected(share, g, w)), tolerance) << p.name();
    EXPECT_GT(relative_error(kept, g), 0.01) << p.name();
  }
}

class GradientDecomposition : public ::testing::TestWithParam<Expected> {};

TEST_P(GradientDecomposition, OfEveryMember) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    MoeOptions options;
    options.features = 5;
    options.hidden = 7;
    options.experts = kExperts;
    options.gate_bias = true;
    MoeLayer layer(Scope{"moe", dtype, 1}, options);
    MassOptions mass = mass_options(MassPreset::paper, 100);
    mass.decomposition = GetParam().decomposition;
    const MassController controller({&layer}, mass);
    std::map<std::string, std::pair<Tensor, Tensor>> before;
    uint64_t seed = 10;
    for (Parameter* p : parameters(layer)) {
      copy_elements(random_tensor(p->value().shape(), dtype, ++seed), p->value());
      copy_elements(random_tensor(p->value().shape(), dtype, ++seed), p->gradient_slot().grad);
      before[p->name()] = {p->value().clone(), p->grad().clone()};
    }
    layer.group().duplicate(kSource);
    const auto check = [&](const std::string& name, Share share) {
      const auto& [value, grad] = before.at("moe." + name);
      expect_divided(parameter(layer, "moe." + name), share, value, grad);
    };
    check("fc1.weight", GetParam().fc1);
    check("fc2.weight", GetParam().fc2);
    check("fc1.bias", GetParam().bias);
    check("fc2.bias", GetParam().bias);
    check("gate.weight", GetParam().gate);
    check("gate.bias", GetParam().bias);
  }
}

constexpr Share kRows = Share::projected_rows, kWhole = Share::projected_whole;

INSTANTIATE_TEST_SUITE_P(
    All, GradientDecomposition,
    ::testing::Values(
        Expected{Decomposition::paper, kRows, kRows, Share::copied, kRows},
        Expected{Decomposition::reference, kRows, Share::zero, Share::zero, kRows},
        Expected{Decomposition::clone, Share::copied, Share::copied, Share::copied, Share::copied},
        Expected{Decomposition::project_whole, kWhole, kWhole, Share::copied, kWhole}));

}  // namespace
}  // namespace offshoot
