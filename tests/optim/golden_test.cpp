// 20 steps of each optimizer on recorded gradients, against PyTorch.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/json.h"
#include "engine/testing/gradcheck.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

constexpr int64_t kExperts = 3;

// The followed parameters at their first values; those of the experts are growable, so that the
// step counts by row are followed, too.
struct Weights {
  explicit Weights(DType dtype, Device device = {}) {
    for (const std::string& name : file.names("/optimizers/gradients")) {
      const Tensor initial = file.tensor("/step/init/" + name, dtype).to(device);
      if (name.find("moe") != std::string::npos) {
        parameters.emplace_back(name, initial, group);
      } else {
        parameters.emplace_back(name, initial);
      }
      gradients.push_back(file.tensor("/optimizers/gradients/" + name, dtype));
    }
  }

  std::vector<ParameterGroup> groups(double decay) {
    ParameterGroup matrices{{}, 1.0, decay}, vectors;
    for (Parameter& p : parameters) {
      (p.value().rank() > 1 ? matrices : vectors).parameters.push_back(&p);
    }
    return {matrices, vectors};
  }

  testing::GoldenFile file{"training.h5"};
  GrowthGroup group{"experts", kExperts};
  std::deque<Parameter> parameters;
  std::vector<Tensor> gradients;  // [steps, ...]
};

Tensor at_step(const Tensor& steps, int64_t step) {
  return steps.rows(step, 1).view(steps.shape().without(0));
}

struct Setting {
  DType dtype = DType::f32;
  Device device = {};
};

using MakeOptimizer = std::function<std::unique_ptr<Optimizer>(Weights&, const Json& config)>;

using RateAt = std::function<double(Weights&, const Json&, int64_t)>;

void expect_follows(const std::string& name, const MakeOptimizer& make, const RateAt& rate_at,
                    const std::vector<Setting>& settings) {
  for (const auto& [dtype, device] : settings) {
    Weights weights(dtype, device);
    const std::string path = "/optimizers/" + name;
    const Json config = Json::parse(weights.file.config(path));
    const auto optimizer = make(weights, config);
    std::vector<Tensor> expected;
    for (const Parameter& p : weights.parameters) {
      expected.push_back(weights.file.tensor(path + "/" + p.name(), dtype));
    }
    const int64_t steps = expected[0].dim(0);
    ASSERT_EQ(steps, 20);
    for (int64_t step = 0; step < steps; ++step) {
      for (size_t i = 0; i < expected.size(); ++i) {
        copy_elements(at_step(weights.gradients[i], step),
                      weights.parameters[i].gradient_slot().grad);
      }
      optimizer->step(rate_at(weights, config, step));
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_LT(testing::relative_error(weights.parameters[i].value().to(Device{}),
                                          at_step(expected[i], step)),
                  dtype == DType::f64 ? 1e-9 : 1e-5)
            << weights.parameters[i].name() << " step " << step << " " << to_string(dtype);
      }
      optimizer->zero_grad();
    }
  }
}

double constant_rate(Weights&, const Json& config, int64_t) { return config.get<double>("lr"); }

AdamOptions adam_options(const Json& config) {
  AdamOptions options;
  options.beta1 = config.get<double>("betas", 0);
  options.beta2 = config.get<double>("betas", 1);
  options.eps = config.get<double>("eps");
  return options;
}

void adamw_follows(const std::vector<Setting>& settings) {
  expect_follows(
      "adamw",
      [](Weights& weights, const Json& config) -> std::unique_ptr<Optimizer> {
        return std::make_unique<AdamW>(weights.groups(config.get<double>("weight_decay")),
                                       adam_options(config));
      },
      [](Weights& weights, const Json&, int64_t step) {
        const Tensor rates = weights.file.tensor("/optimizers/adamw/learning_rates");
        return rates.elements<double>()[static_cast<size_t>(step)];
      },
      settings);
}

void adam_follows(const std::vector<Setting>& settings) {
  expect_follows(
      "adam",
      [](Weights& weights, const Json& config) -> std::unique_ptr<Optimizer> {
        return std::make_unique<Adam>(weights.groups(0), adam_options(config));
      },
      constant_rate, settings);
}

void sgd_follows(const std::vector<Setting>& settings) {
  expect_follows(
      "sgd",
      [](Weights& weights, const Json& config) -> std::unique_ptr<Optimizer> {
        return std::make_unique<Sgd>(weights.groups(0), SgdOptions{config.get<double>("momentum")});
      },
      constant_rate, settings);
}

const std::vector<Setting> kCpu{{DType::f64}, {DType::f32}};

TEST(Golden, AdamWFollowsPyTorch) { adamw_follows(kCpu); }
TEST(Golden, AdamFollowsPyTorch) { adam_follows(kCpu); }
TEST(Golden, SgdFollowsPyTorch) { sgd_follows(kCpu); }

TEST(GoldenCuda, AllFollowPyTorch) {
  OFFSHOOT_NEEDS_CUDA();
  const std::vector<Setting> settings{{DType::f32, testing::kCuda}};
  adamw_follows(settings);
  adam_follows(settings);
  sgd_follows(settings);
}

}  // namespace
}  // namespace offshoot
