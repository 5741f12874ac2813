#include "models/moe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"
#include "models/layer_record.h"
#include "tests/models/module_check.h"

namespace offshoot {
namespace {

using testing::module_gradient_error;
using testing::random_tensor;
using testing::randomise;
using testing::relative_error;

constexpr int64_t kFeatures = 5, kHidden = 7, kExperts = 4;
using Kind = RouteOptions::Kind;

MoeOptions moe_options(const RouteOptions& route, bool gate_bias = false) {
  MoeOptions options;
  options.features = kFeatures;
  options.hidden = kHidden;
  options.experts = kExperts;
  options.route = route;
  options.gate_bias = gate_bias;
  return options;
}

Scope scope() { return {"moe", DType::f64, 4}; }

Tensor run(MoeLayer& layer, const Tensor& x, LayerSink* sink = nullptr) {
  Tape tape = Tape::none();
  Context context{tape, false, {}, {}, sink};
  return layer.forward(context, x);
}

// The layer from its definition: a loop over tokens, their experts sorted by probability.
class PlainMoe {
 public:
  PlainMoe(MoeLayer& layer, const RouteOptions& route) : E_(layer.experts()), route_(route) {
    for (Parameter* p : parameters(layer)) {
      const auto elements = p->value().elements<double>();
      tables_[p->name()] = {elements.begin(), elements.end()};
    }
  }

  std::vector<double> operator()(const Tensor& x) const {
    const int64_t N = x.size() / kFeatures;
    std::vector<std::vector<std::pair<int64_t, double>>> kept;
    bool shared = false;
    for (int64_t n = 0; n < N; ++n) {
      kept.push_back(choose(probabilities(x.data<double>() + n * kFeatures)));
      shared = shared || kept.back().size() > 1;
    }
    const bool divide = route_.weights == CombineWeights::renormalised ||
                        (route_.weights == CombineWeights::renormalised_if_shared && shared);
    std::vector<double> out;
    for (int64_t n = 0; n < N; ++n) {
      double sum = 0;
      for (const auto& [expert, weight] : kept[static_cast<size_t>(n)]) sum += weight;
      std::vector<double> y(kFeatures, 0.0);
      for (const auto& [expert, weight] : kept[static_cast<size_t>(n)]) {
        add_expert(x.data<double>() + n * kFeatures, expert, divide ? weight / sum : weight, y);
      }
      out.insert(out.end(), y.begin(), y.end());
    }
    return out;
  }

 private:
  double at(const char* name, int64_t index) const {
    return tables_.at(std::string("moe.") + name)[static_cast<size_t>(index)];
  }

  std::vector<double> probabilities(const double* x) const {
    std::vector<double> r;
    double sum = 0;
    for (int64_t e = 0; e < E_; ++e) {
      double logit = tables_.contains("moe.gate.bias") ? at("gate.bias", e) : 0;
      for (int64_t d = 0; d < kFeatures; ++d) logit += at("gate.weight", e * kFeatures + d) * x[d];
      r.push_back(std::exp(logit));
      sum += r.back();
    }
    for (double& value : r) value /= sum;
    return r;
  }

  std::vector<std::pair<int64_t, double>> choose(const std::vector<double>& r) const {
    std::vector<size_t> order(r.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return r[a] > r[b]; });
    std::vector<std::pair<int64_t, double>> kept;
    double mass = 0;
    for (const size_t e : order) {
      const auto count = static_cast<int64_t>(kept.size());
      const bool more = route_.kind == Kind::top_k ? count < route_.k : mass < route_.p;
      if (!more && route_.p < 1) break;
      if (!more && route_.kind == Kind::top_k) break;
      kept.emplace_back(static_cast<int64_t>(e), r[e]);
      mass += r[e];
    }
    return kept;
  }

  void add_expert(const double* x, int64_t e, double weight, std::vector<double>& y) const {
    std::vector<double> hidden;
    for (int64_t h = 0; h < kHidden; ++h) {
      double z = at("fc1.bias", e * kHidden + h);
      for (int64_t d = 0; d < kFeatures; ++d) {
        z += at("fc1.weight", (e * kHidden + h) * kFeatures + d) * x[d];
      }
      hidden.push_back(0.5 * z * (1 + std::erf(z / std::sqrt(2.0))));
    }
    for (int64_t d = 0; d < kFeatures; ++d) {
      double out = at("fc2.bias", e * kFeatures + d);
      for (int64_t h = 0; h < kHidden; ++h) {
        out += at("fc2.weight", (e * kFeatures + d) * kHidden + h) * hidden[static_cast<size_t>(h)];
      }
      y[static_cast<size_t>(d)] += weight * out;
    }
  }

  int64_t E_;
  RouteOptions route_;
  std::map<std::string, std::vector<double>> tables_;
};

class MoeRoutes : public ::testing::TestWithParam<RouteOptions> {};

TEST_P(MoeRoutes, OutputIsTheDefinitions) {
  MoeLayer layer(scope(), moe_options(GetParam(), true));
  randomise(layer, 2);
  for (const int64_t tokens : {0, 1, 13}) {
    const Tensor x = random_tensor({tokens, kFeatures}, DType::f64, 3);
    const std::vector<double> expected = PlainMoe(layer, GetParam())(x);
    EXPECT_LT(relative_error(run(layer, x),
                             Tensor::from({tokens, kFeatures}, std::span<const double>(expected))),
              1e-12);
  }
}

TEST_P(MoeRoutes, GradientsMatchCentralDifferences) {
  for (const bool gate_bias : {false, true}) {
    MoeLayer layer(scope(), moe_options(GetParam(), gate_bias));
    randomise(layer, 2);
    EXPECT_LT(
        module_gradient_error(
            layer, [&](Context& context, const auto& x) { return layer.forward(context, x[0]); },
            {random_tensor({2, 5, kFeatures}, DType::f64, 3)}),
        1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Routes, MoeRoutes,
    ::testing::Values(RouteOptions{Kind::top_k, 1, 1, CombineWeights::raw},
                      RouteOptions{Kind::top_k, 2, 1, CombineWeights::renormalised},
                      RouteOptions{Kind::top_k, kExperts, 1, CombineWeights::raw},
                      RouteOptions{Kind::top_p, 1, 0.2, CombineWeights::renormalised_if_shared},
                      RouteOptions{Kind::top_p, 1, 0.6, CombineWeights::raw},
                      RouteOptions{Kind::top_p, 1, 0.6, CombineWeights::renormalised},
                      RouteOptions{Kind::top_p, 1, 0.6, CombineWeights::renormalised_if_shared},
                      RouteOptions{Kind::top_p, 1, 1.0, CombineWeights::raw}));

TEST(Moe, AnExpertWithoutTokensHasZeroGradients) {
  MoeLayer layer(scope(), moe_options({Kind::top_k, 1, 1, CombineWeights::raw}, true));
  randomise(layer, 2);
  const Tensor bias = parameter(layer, "moe.gate.bias").value();
  bias.data<double>()[2] = -1e3;
  EXPECT_LT(
      module_gradient_error(
          layer, [&](Context& context, const auto& x) { return layer.forward(context, x[0]); },
          {random_tensor({7, kFeatures}, DType::f64, 3)}),
      1e-6);
  const Tensor grad = layer.fc1_weight().grad().rows(2, 1);
  for (const double g : grad.elements<double>()) EXPECT_EQ(g, 0.0);
}

TEST(Moe, AllTokensOnOneExpert) {
  MoeLayer layer(scope(), moe_options({Kind::top_p, 1, 0.5, CombineWeights::raw}, true));
  randomise(layer, 2);
  const Tensor bias = parameter(layer, "moe.gate.bias").value();
  bias.data<double>()[1] = 30;
  const RouteOptions route{Kind::top_p, 1, 0.5, CombineWeights::raw};
  const Tensor x = random_tensor({9, kFeatures}, DType::f64, 3);
  const std::vector<double> expected = PlainMoe(layer, route)(x);
  EXPECT_LT(relative_error(run(layer, x),
                           Tensor::from({9, kFeatures}, std::span<const double>(expected))),
            1e-12);
}

TEST(Moe, TellsItsSinkOnceAForwardPass) {
  struct Sink final : LayerSink {
    void add(const LayerRecord& record) override {
      names.push_back(record.name);
      layers.push_back(&record.layer);
      routed = record.routed;
    }
    std::vector<std::string> names;
    std::vector<const MoeLayer*> layers;
    Routed routed;
  } sink;
  MoeLayer layer(scope(), moe_options({Kind::top_k, 2, 1, CombineWeights::renormalised}));
  run(layer, random_tensor({2, 3, kFeatures}, DType::f64, 1), &sink);
  EXPECT_EQ(sink.names, std::vector<std::string>{"moe"});
  EXPECT_EQ(sink.layers, std::vector<const MoeLayer*>{&layer});
  EXPECT_EQ(sink.routed.probs.shape(), (Shape{6, kExperts}));
  EXPECT_EQ(sink.routed.logits.shape(), (Shape{6, kExperts}));
  EXPECT_EQ(sink.routed.routing.pairs(), 12);
}

TEST(Moe, FirstValuesAreUniformByFanIn) {
  MoeLayer layer(scope(), moe_options({}));
  const auto widest = [](Parameter& p) {
    double most = 0;
    const Tensor value = p.value();
    for (const double w : value.elements<double>()) most = std::max(most, std::abs(w));
    return most;
  };
  const double one = 1 / std::sqrt(double{kFeatures}), two = 1 / std::sqrt(double{kHidden});
  for (Parameter* p : {&layer.fc1_weight(), &layer.fc1_bias()}) {
    EXPECT_LE(widest(*p), one);
    EXPECT_GT(widest(*p), 0.8 * one);
  }
  for (Parameter* p : {&layer.fc2_weight(), &layer.fc2_bias()}) {
    EXPECT_LE(widest(*p), two);
    EXPECT_GT(widest(*p), 0.8 * two);
  }
}

class SharedExpert : public ::testing::Test {
 protected:
  static MoeOptions options() {
    MoeOptions options = moe_options({Kind::top_k, 2, 1, CombineWeights::renormalised});
    options.shared_hidden = 3;
    return options;
  }
  static constexpr Linear::Options kFanIn{.init = Linear::Init::fan_in};
};

TEST_F(SharedExpert, IsAddedToWhatTheOthersGive) {
  MoeLayer layer(scope(), options()), without(scope(), moe_options(options().route));
  Mlp mlp(scope() / "shared", kFeatures, 3, kFanIn);
  const Tensor x = random_tensor({2, 4, kFeatures}, DType::f64, 3);
  const Tensor y = run(layer, x), others = run(without, x);
  Tape tape = Tape::none();
  Context context{tape};
  const Tensor shared = mlp.forward(context, x);
  for (int64_t i = 0; i < y.size(); ++i) {
    const double expected = others.data<double>()[i] + shared.data<double>()[i];
    EXPECT_NEAR(y.data<double>()[i], expected, 1e-14);
  }
}

TEST_F(SharedExpert, GradientsMatchCentralDifferences) {
  MoeLayer layer(scope(), options());
  randomise(layer, 2);
  EXPECT_LT(
      module_gradient_error(
          layer, [&](Context& context, const auto& x) { return layer.forward(context, x[0]); },
          {random_tensor({2, 5, kFeatures}, DType::f64, 3)}),
      1e-6);
}

TEST_F(SharedExpert, NeitherGrowsNorGoes) {
  MoeLayer layer(scope(), options());
  layer.group().duplicate(1);
  layer.group().remove(0);
  EXPECT_EQ(parameter(layer, "moe.shared.fc1.weight").value().shape(), (Shape{3, kFeatures}));
  EXPECT_EQ(parameter(layer, "moe.shared.fc1.bias").value().shape(), (Shape{3}));
  EXPECT_EQ(parameter(layer, "moe.shared.fc2.weight").value().shape(), (Shape{kFeatures, 3}));
  EXPECT_FALSE(parameter(layer, "moe.shared.fc2.bias").growable());
}

TEST_F(SharedExpert, FirstValuesAreUniformByFanIn) {
  MoeOptions wide = options();
  wide.shared_hidden = 40;
  MoeLayer layer(scope(), wide);
  for (const auto& [leaf, fan_in] : {std::pair{"fc1.weight", kFeatures},
                                     {"fc1.bias", kFeatures},
                                     {"fc2.weight", int64_t{40}},
                                     {"fc2.bias", int64_t{40}}}) {
    const Tensor value = parameter(layer, fmt::format("moe.shared.{}", leaf)).value();
    const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
    double most = 0;
    for (const double w : value.elements<double>()) most = std::max(most, std::abs(w));
    EXPECT_LE(most, bound) << leaf;
    EXPECT_GT(most, 0.5 * bound) << leaf;
  }
}

TEST(Moe, RefusesWhatDoesNotFit) {
  MoeOptions options = moe_options({});
  options.experts = 0;
  EXPECT_THROW(MoeLayer(scope(), options), Error);
  options = moe_options({});
  options.max_experts = kExperts - 1;
  EXPECT_THROW(MoeLayer(scope(), options), Error);
  options = moe_options({});
  options.hidden = 0;
  EXPECT_THROW(MoeLayer(scope(), options), Error);
  options = moe_options({});
  options.shared_hidden = -1;
  EXPECT_THROW(MoeLayer(scope(), options), Error);
  MoeLayer layer(scope(), moe_options({}));
  EXPECT_THROW(run(layer, random_tensor({2, kFeatures + 1}, DType::f64, 1)), Error);
  EXPECT_THROW(run(layer, Tensor::scalar(1, DType::f64)), Error);
  MoeLayer too_many(scope(), moe_options({Kind::top_k, kExperts + 1, 1, CombineWeights::raw}));
  EXPECT_THROW(run(too_many, random_tensor({2, kFeatures}, DType::f64, 1)), Error);
  EXPECT_THROW(run(layer, Tensor()), Error);
  const auto no_router = [](const Scope&, GrowthGroup&) { return std::unique_ptr<Router>(); };
  EXPECT_THROW(MoeLayer(scope(), moe_options({}), no_router), Error);
}

}  // namespace
}  // namespace offshoot
