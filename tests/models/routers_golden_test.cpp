// Layers with the library's routers against PyTorch (tests/golden/make_routers.py).
#include <gtest/gtest.h>

#include "models/cosine_router.h"
#include "models/layer_record.h"
#include "models/moe.h"
#include "models/top_any_router.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/router_losses.h"
#include "ops/unary.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::golden_error;
using testing::GoldenCase;
using testing::GoldenFile;

RouteOptions route_of(const GoldenCase& golden) {
  RouteOptions route;
  if (golden.has("k")) route.k = golden.integer("k");
  if (golden.has("p")) {
    route.kind = RouteOptions::Kind::top_p;
    route.p = golden.number("p");
  }
  if (golden.has("combine")) {
    const std::string combine = golden.text("combine");
    route.weights = combine == "raw"    ? CombineWeights::raw
                    : combine == "kept" ? CombineWeights::renormalised
                                        : CombineWeights::renormalised_if_shared;
  }
  return route;
}

MoeOptions options_of(const GoldenCase& golden) {
  MoeOptions options;
  options.experts = golden["fc1.weight"].dim(0);
  options.hidden = golden["fc1.weight"].dim(1);
  options.features = golden["fc1.weight"].dim(2);
  options.gate_bias = golden["gate.bias"].defined();
  if (golden["shared.fc1.bias"].defined()) {
    options.shared_hidden = golden["shared.fc1.bias"].dim(0);
  }
  options.route = route_of(golden);
  const std::string router = golden.text("router");
  if (router == "sigmoid") options.router = RouterKind::sigmoid;
  if (router == "top_any") {
    options.router = RouterKind::top_any;
    options.learn_temperature = golden["gate.temperature"].defined();
  }
  return options;
}

// With the case's values.
std::unique_ptr<MoeLayer> layer_of(const GoldenCase& golden) {
  const Scope scope{"", golden.dtype(), 0};
  const MoeOptions options = options_of(golden);
  std::unique_ptr<MoeLayer> layer;
  if (golden.text("router") == "cosine") {
    layer = std::make_unique<MoeLayer>(
        scope, options, [&](const Scope& gate, GrowthGroup& experts) -> std::unique_ptr<Router> {
          const CosineRouter::Options cosine{.route = options.route,
                                             .projected = golden["gate.weight"].dim(1)};
          return std::make_unique<CosineRouter>(gate, options.features, experts, cosine);
        });
  } else {
    layer = std::make_unique<MoeLayer>(scope, options);
  }
  for (Parameter* p : parameters(*layer)) copy_elements(golden[p->name()], p->value());
  return layer;
}

// [N, E], 0 where an expert is not kept; f64.
Tensor dense(const Routing& routing) {
  const Tensor all = Tensor::zeros({routing.tokens(), routing.experts()}, DType::f64);
  for (int64_t n = 0; n < routing.tokens(); ++n) {
    const int64_t* offsets = routing.token_offsets.data<int64_t>() + n;
    for (int64_t p = offsets[0]; p < offsets[1]; ++p) {
      const int64_t e = routing.expert_of_pair.data<int32_t>()[p];
      dispatch_float("test", routing.weights.dtype(), [&]<class T>(T) {
        all.data<double>()[n * routing.experts() + e] =
            static_cast<double>(routing.weights.data<T>()[p]);
      });
    }
  }
  return all;
}

class RoutersGolden : public ::testing::TestWithParam<DType> {
 protected:
  static double tolerance(const std::string& name, const std::string& leaf) {
    if (GetParam() == DType::f64) return 1e-9;
    if (name.find("capped") != std::string::npos) return 1e-3;  // cosines times 100
    return leaf == "grads/gate.temperature" ? 1e-4 : 1e-5;      // a sum that cancels
  }
};

TEST_P(RoutersGolden, LossScoresWeightsAndGradients) {
  struct Sink final : LayerSink {
    void add(const LayerRecord& record) override { routed = record.routed; }
    Routed routed;
  };
  const GoldenFile file("routers_models.h5");
  for (const std::string& name : file.cases("layers")) {
    SCOPED_TRACE(name);
    const std::string path = "/layers/" + name;
    const GoldenCase golden(file, path, GetParam());
    const std::unique_ptr<MoeLayer> layer = layer_of(golden);
    const auto expect = [&](const Tensor& got, const std::string& leaf) {
      EXPECT_LT(golden_error(got, file.tensor(path + "/" + leaf)), tolerance(name, leaf)) << leaf;
    };

    Tape tape;
    const Tensor x = golden["x"];
    tape.watch(x);
    Sink sink;
    Context context{tape, true, {}, {}, &sink};
    const Tensor y = layer->forward(context, x);
    Tensor loss = sum(tape, mul(tape, y, golden["dout"]));
    if (golden.has("auxiliary")) {
      const Tensor rows = tape.watch(*layer->router().expert_rows());
      const Tensor extra = diversity_loss(tape, rows);
      expect(extra, "outputs/auxiliary");
      loss = add(tape, loss, scale(tape, extra, golden.number("auxiliary")));
    }
    tape.backward(loss, file.tensor(path + "/dout/loss", GetParam()).view(loss.shape()));
    expect(loss, "outputs/loss");
    expect(y, "outputs/y");
    expect(sink.routed.probs, "outputs/scores");
    expect(dense(sink.routed.routing), "outputs/weights");
    expect(tape.grad(x), "grads/x");
    for (Parameter* p : parameters(*layer)) expect(p->grad(), "grads/" + p->name());
    EXPECT_EQ(parameters(*layer).size() + 1, file.names(path + "/grads").size());

    if (auto* router = dynamic_cast<TopAnyRouter*>(&layer->router())) {
      Tape none = Tape::none();
      expect(router->thresholds(none), "outputs/thresholds");
      Context evaluation{none};
      expect(layer->forward(evaluation, x), "outputs/y_evaluated");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, RoutersGolden, ::testing::Values(DType::f64, DType::f32));

}  // namespace
}  // namespace offshoot
