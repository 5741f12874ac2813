// What every router of the library owes a layer: gradients, offsets, growth, first values, errors.
#include "tests/models/router_kinds.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"
#include "models/cosine_router.h"
#include "models/layer_record.h"
#include "models/top_any_router.h"
#include "ops/expert_mlp.h"
#include "ops/layout.h"
#include "ops/permute.h"
#include "tests/models/module_check.h"

namespace offshoot {
namespace {

using testing::module_gradient_error;
using testing::random_tensor;
using testing::randomise;
using testing::relative_error;
using testing::router_cases;
using testing::RouterCase;
using testing::sized;
using Kind = RouteOptions::Kind;
using Offsets = std::map<std::string, std::vector<RowOffset>>;

constexpr int64_t kFeatures = 5, kHidden = 7;
constexpr double kLeaveOut = -std::numeric_limits<double>::infinity();

Scope scope(DType dtype = DType::f64) { return {"moe", dtype, 4}; }

Tensor run(MoeLayer& layer, const Tensor& x, bool train = true, const Offsets& offsets = {}) {
  Tape tape = Tape::none();
  Context context{tape, train, {}, offsets};
  return layer.forward(context, x);
}

// scores - thresholds, [N, E] f64.
Tensor excess(Tape& tape, TopAnyRouter& router, const Routed& routed) {
  const Tensor thresholds = router.thresholds(tape), over = routed.probs.clone();
  const int64_t E = over.dim(1);
  for (int64_t i = 0; i < over.size(); ++i) {
    over.data<double>()[i] -= thresholds.data<double>()[i % E];
  }
  return over;
}

// A top-any layer's gradients go straight through the choice, which is flat. They are those of this
// layer, where a_ne = 1 + excess - (excess when it was made), in the weights a_ne / sum_e a_ne.
class StraightThrough {
 public:
  StraightThrough(MoeLayer& layer, const Tensor& x)
      : layer_(layer), router_(dynamic_cast<TopAnyRouter&>(layer.router())) {
    Tape tape = Tape::none();
    Context context{tape, true};
    first_ = excess(tape, router_, router_.forward(context, x, 1));
  }

  Tensor operator()(Context& context, const Tensor& x) const {
    Tape& tape = context.tape;
    const Routed routed = router_.forward(context, x, 1);
    Routing routing = routed.routing;
    routing.weights = weights(routing, excess(tape, router_, routed));
    const Tensor out = expert_mlp(tape, dispatch_tokens(tape, x, routing),
                                  layer_.fc1_weight().value(), layer_.fc1_bias().value(),
                                  layer_.fc2_weight().value(), layer_.fc2_bias().value(), routing);
    return combine_tokens(tape, out, routing);
  }

 private:
  Tensor weights(const Routing& routing, const Tensor& now) const {
    const Tensor weights({routing.pairs()}, DType::f64);
    const int64_t* offsets = routing.token_offsets.data<int64_t>();
    double* const w = weights.data<double>();
    for (int64_t n = 0; n < routing.tokens(); ++n) {
      double total = 0;
      for (int64_t p = offsets[n]; p < offsets[n + 1]; ++p) {
        const int64_t at = n * routing.experts() + routing.expert_of_pair.data<int32_t>()[p];
        w[p] = 1 + now.data<double>()[at] - first_.data<double>()[at];
        total += w[p];
      }
      for (int64_t p = offsets[n]; p < offsets[n + 1]; ++p) w[p] /= total;
    }
    return weights;
  }

  MoeLayer& layer_;
  TopAnyRouter& router_;
  Tensor first_;
};

class Routers : public ::testing::TestWithParam<RouterCase> {
 protected:
  static MoeOptions options() { return sized(GetParam().options, kFeatures, kHidden); }
  static bool top_any() { return GetParam().options.router == RouterKind::top_any; }
};

TEST_P(Routers, GradientsMatchCentralDifferences) {
  MoeLayer layer(scope(), options());
  randomise(layer, 2);
  const Tensor x = random_tensor({11, kFeatures}, DType::f64, 3);
  std::function<Tensor(Context&, const Tensor&)> differenced =
      [&](Context& context, const Tensor& input) { return layer.forward(context, input); };
  if (top_any()) differenced = StraightThrough(layer, x);
  EXPECT_LT(module_gradient_error(layer,
                                  [&](Context& context, const auto& inputs) {
                                    return context.tape.wants(inputs[0])
                                               ? layer.forward(context, inputs[0])
                                               : differenced(context, inputs[0]);
                                  },
                                  {x}),
            1e-6);
}

TEST_P(Routers, MinusInfinityIsAsGoodAsRemoval) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (const bool train : {true, false}) {
      MoeLayer layer(scope(dtype), options());
      randomise(layer, 2);
      const Tensor x = random_tensor({11, kFeatures}, dtype, 3);
      const Tensor all = run(layer, x, train);
      const Tensor without = run(layer, x, train, {{"moe", {{1, kLeaveOut}}}});
      layer.group().remove(1);
      EXPECT_LT(relative_error(without, run(layer, x, train)), dtype == DType::f64 ? 1e-13 : 1e-5);
      EXPECT_GT(relative_error(without, all), 1e-2);
    }
  }
}

TEST_P(Routers, GradientsFlowAroundAnExpertLeftOut) {
  MoeLayer layer(scope(), options());
  randomise(layer, 2);
  const Tensor x = random_tensor({11, kFeatures}, DType::f64, 3);
  Tape tape;
  tape.watch(x);
  Context context{tape, true, {}, {{"moe", {{1, kLeaveOut}, {3, 0.4}}}}};
  const Tensor y = layer.forward(context, x);
  tape.backward(y, random_tensor(y.shape(), DType::f64, 5));
  for (Parameter* p : parameters(layer)) {
    const Tensor grad = p->grad();
    for (const double g : grad.elements<double>()) EXPECT_TRUE(std::isfinite(g)) << p->name();
    if (!p->growable()) continue;
    const Tensor left_out = grad.rows(1, 1);
    for (const double g : left_out.elements<double>()) EXPECT_EQ(g, 0.0) << p->name();
  }
}

TEST_P(Routers, GrowWithTheirExperts) {
  MoeLayer layer(scope(), options());
  randomise(layer, 2);
  const Tensor x = random_tensor({11, kFeatures}, DType::f64, 3);
  layer.group().duplicate(1);
  layer.group().remove(0);
  layer.group().append(2, [](std::string_view, const Tensor& rows) {
    copy_elements(random_tensor(rows.shape(), DType::f64, 8), rows);
  });
  for (Parameter* p : parameters(layer)) {
    if (!p->growable()) continue;
    EXPECT_EQ(p->value().dim(0), 6) << p->name();
  }
  EXPECT_EQ(layer.router().expert_rows()->group(), &layer.group());
  Tape tape;
  Context context{tape, true};
  const Tensor y = layer.forward(context, x);
  tape.backward(y, random_tensor(y.shape(), DType::f64, 5));

  // The same rows in a layer that was born with them.
  MoeOptions six = options();
  six.experts = 6;
  MoeLayer born(scope(), six);
  for (Parameter* p : parameters(born)) {
    copy_elements(parameter(layer, p->name()).value(), p->value());
  }
  EXPECT_EQ(relative_error(run(born, x), y), 0.0);
}

TEST_P(Routers, NoTokensIsLegal) {
  MoeLayer layer(scope(), options());
  Tape tape;
  Context context{tape, true};
  const Tensor y = layer.forward(context, Tensor({0, kFeatures}, DType::f64));
  EXPECT_EQ(y.shape(), (Shape{0, kFeatures}));
  tape.backward(y, y.clone());
  for (Parameter* p : parameters(layer)) {
    const Tensor grad = p->grad();
    for (const double g : grad.elements<double>()) EXPECT_EQ(g, 0.0) << p->name();
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Routers, ::testing::ValuesIn(router_cases()),
                         [](const auto& of) { return of.param.name; });

TEST(TopAny, ATokenWithoutExpertsGetsNothingInTrainingAndItsBestInEvaluation) {
  MoeLayer layer(scope(), sized(router_cases().back().options, kFeatures, kHidden));
  randomise(layer, 2);
  copy_elements(Tensor::full({4}, DType::f64, 2.0), parameter(layer, "moe.gate.threshold").value());
  const Tensor x = random_tensor({6, kFeatures}, DType::f64, 3);
  const Tensor trained = run(layer, x);
  for (const double y : trained.elements<double>()) EXPECT_EQ(y, 0.0);
  struct Sink final : LayerSink {
    void add(const LayerRecord& record) override { routed = record.routed; }
    Routed routed;
  } sink;
  Tape tape = Tape::none();
  Context context{tape, false, {}, {}, &sink};
  layer.forward(context, x);
  ASSERT_EQ(sink.routed.routing.pairs(), 6);
  for (int64_t n = 0; n < 6; ++n) {
    const double* scores = sink.routed.probs.data<double>() + n * 4;
    EXPECT_EQ(sink.routed.routing.expert_of_pair.data<int32_t>()[n],
              std::max_element(scores, scores + 4) - scores);
    EXPECT_EQ(sink.routed.routing.weights.data<double>()[n], 1.0);
  }
}

TEST(TopAny, FirstValues) {
  MoeLayer layer(scope(), sized(router_cases().back().options, kFeatures, kHidden));
  const Tensor rows = parameter(layer, "moe.gate.weight").value();
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 4; ++j) {
      double dot = 0;
      for (int64_t d = 0; d < kFeatures; ++d) {
        dot += rows.data<double>()[i * kFeatures + d] * rows.data<double>()[j * kFeatures + d];
      }
      EXPECT_NEAR(dot, i == j ? 1 : 0, 1e-6);
    }
  }
  const Tensor threshold = parameter(layer, "moe.gate.threshold").value();
  for (const double t : threshold.elements<double>()) EXPECT_EQ(t, 0.0);
  EXPECT_NEAR(parameter(layer, "moe.gate.temperature").value().item(), std::log(10), 1e-6);
  EXPECT_TRUE(parameter(layer, "moe.gate.threshold").growable());
  EXPECT_FALSE(parameter(layer, "moe.gate.temperature").growable());
  MoeLayer without(scope(), sized(router_cases()[5].options, kFeatures, kHidden));
  EXPECT_EQ(parameters(without, "moe.gate.*").size(), 2U);
}

TEST(CosineRouter, FirstValues) {
  MoeLayer layer(scope(), sized(router_cases()[3].options, kFeatures, kHidden));
  const auto deviation = [&](const char* name) {
    const Tensor value = parameter(layer, name).value();
    double sum = 0;
    for (const double v : value.elements<double>()) sum += v * v;
    return std::sqrt(sum / static_cast<double>(value.size()));
  };
  EXPECT_NEAR(deviation("moe.gate.projection.weight"), 0.02, 0.002);
  EXPECT_EQ(deviation("moe.gate.projection.bias"), 0.0);
  EXPECT_NEAR(deviation("moe.gate.weight"), 0.01, 0.001);
  EXPECT_NEAR(parameter(layer, "moe.gate.temperature").value().item(), std::log(2), 1e-6);
  EXPECT_EQ(parameter(layer, "moe.gate.weight").value().shape(), (Shape{4, 256}));
  EXPECT_EQ(parameter(layer, "moe.gate.projection.weight").value().shape(),
            (Shape{256, kFeatures}));
  EXPECT_FALSE(parameter(layer, "moe.gate.projection.weight").growable());
  EXPECT_FALSE(parameter(layer, "moe.gate.temperature").growable());
}

TEST(RouterOptions, ThatDoNotFitAreErrors) {
  const auto message = [](const std::function<void(MoeOptions&)>& change) {
    MoeOptions options = sized({}, kFeatures, kHidden);
    options.experts = 4;
    change(options);
    try {
      MoeLayer(scope(), options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  const RouteOptions top_p{Kind::top_p, 1, 0.5, CombineWeights::raw};
  EXPECT_EQ(message([&](MoeOptions& o) { o.router = RouterKind::sigmoid, o.route = top_p; }),
            "[moe.gate] route: got top-p of sigmoid scores, expected top-k");
  EXPECT_EQ(message([&](MoeOptions& o) { o.router = RouterKind::top_any, o.route = top_p; }),
            "[moe.gate] route: got options for top-any routing, expected the default ones");
  for (const RouterKind kind : {RouterKind::cosine, RouterKind::top_any}) {
    EXPECT_EQ(message([&](MoeOptions& o) { o.router = kind, o.gate_bias = true; }),
              "[moe.gate] gate_bias: got one for a router by cosine, expected none");
  }
  for (const RouterKind kind : {RouterKind::softmax, RouterKind::sigmoid, RouterKind::cosine}) {
    EXPECT_EQ(message([&](MoeOptions& o) { o.router = kind, o.learn_temperature = false; }),
              "[moe.gate] learn_temperature: got false, expected so for top-any routing only");
  }
  EXPECT_EQ(message([](MoeOptions&) {}), "none");
  GrowthGroup group("experts", 2);
  EXPECT_THROW(CosineRouter(scope(), 3, group, {.projected = 0}), Error);
}

}  // namespace
}  // namespace offshoot
