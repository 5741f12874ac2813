#include "tests/mass/fake_pools.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace offshoot::testing {
namespace {

constexpr int64_t kFeatures = 2, kHidden = 3, kWeights = kFeatures * kHidden;
constexpr double kTaskLoss = 2.5;

// Weights are ones; odd elements with the other sign are orthogonal to them.
void write_gradient(double* row, const FakeGradient& gradient) {
  const double along = gradient.norm * gradient.cosine / std::sqrt(double{kWeights});
  const double across = gradient.norm * std::sqrt(1 - gradient.cosine * gradient.cosine) /
                        std::sqrt(double{kWeights});
  for (int64_t i = 0; i < kWeights; ++i) row[i] = along + (i % 2 == 0 ? across : -across);
}

std::string text_of(const GrowthEvent& event, bool with_layer) {
  return fmt::format("{}{}{}{}", with_layer ? event.layer + ": " : "", to_string(event.kind),
                     event.source >= 0 ? fmt::format(" {}", event.source) : "",
                     event.created >= 0 ? fmt::format(">{}", event.created) : "");
}

}  // namespace

FakePools::FakePools(const MassOptions& options, int64_t experts, int64_t layers, bool gate_bias) {
  MoeOptions moe;
  moe.features = kFeatures;
  moe.hidden = kHidden;
  moe.experts = experts;
  moe.max_experts = options.max_experts;
  moe.route.p = 0.5;
  moe.route.kind = RouteOptions::Kind::top_p;
  moe.gate_bias = gate_bias;
  std::vector<MoeLayer*> pointers;
  for (int64_t i = 0; i < layers; ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    layers_.push_back(std::make_unique<MoeLayer>(Scope{name, DType::f64, 3}, moe));
    const Tensor weight = layers_.back()->fc1_weight().value();
    std::ranges::fill(weight.elements<double>(), 1.0);
    pointers.push_back(layers_.back().get());
  }
  controller_ = std::make_unique<MassController>(pointers, options);
}

std::vector<GrowthEvent> FakePools::advance(const std::vector<FakeGradients>& gradients,
                                            const std::vector<double>& gains) {
  std::vector<std::vector<int64_t>> tokens;
  for (size_t i = 0; i < layers_.size(); ++i) {
    MoeLayer& moe = *layers_[i];
    moe.each_parameter([](Parameter& p) { fill_zero(p.gradient_slot().grad); });
    const Tensor fc1 = moe.fc1_weight().grad();
    std::vector<int64_t>& counts = tokens.emplace_back();
    for (const int64_t id : moe.group().ids()) {
      const auto found = gradients[i].find(id);
      const FakeGradient gradient = found == gradients[i].end() ? FakeGradient{} : found->second;
      write_gradient(fc1.data<double>() + std::ssize(counts) * kWeights, gradient);
      counts.push_back(gradient.tokens);
    }
  }
  size_t next = 0;
  const auto probe = [&](const auto& offsets, bool fresh_dropout) {
    ProbeCall& call = probes_.emplace_back();
    call.offsets = offsets;
    call.fresh_dropout = fresh_dropout;
    for (const auto& layer : layers_) call.experts.push_back(layer->experts());
    if (next == gains.size()) {
      ADD_FAILURE() << "unexpected probe in step " << step_;
      return kTaskLoss;
    }
    return kTaskLoss + gains[next++];
  };
  auto events = controller_->grow(step_, tokens, kTaskLoss, probe);
  EXPECT_EQ(next, gains.size()) << "probes in step " << step_;
  ++step_;
  return events;
}

std::vector<std::string> FakePools::drift(const std::vector<std::vector<int64_t>>& ids,
                                          const std::vector<double>& gains) {
  std::vector<FakeGradients> gradients(layers_.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    for (const int64_t id : ids[i]) gradients[i][id].cosine = 0.0;
  }
  std::vector<std::string> texts;
  for (const GrowthEvent& event : advance(gradients, gains)) {
    texts.push_back(text_of(event, layers_.size() > 1));
  }
  return texts;
}

MassOptions cosine_decides(MassPreset preset) {
  MassOptions options = mass_options(preset, 1000);
  options.change_point = false;
  options.warmup = 1;
  options.window = 2;
  return options;
}

}  // namespace offshoot::testing
