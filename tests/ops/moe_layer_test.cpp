// A mixture-of-experts layer put together from route, dispatch, grouped_linear and combine.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <string>

#include "engine/parameter.h"
#include "ops/expert_mlp.h"
#include "ops/grouped_gemm.h"
#include "ops/linear.h"
#include "ops/permute.h"
#include "ops/softmax.h"
#include "tests/ops/op_check.h"
#include "tests/ops/random_routing.h"
#include "tests/support/golden_check.h"
#include "tests/support/moe_reference.h"
#include "tests/support/waits.h"

namespace offshoot {
namespace {

using enum CombineWeights;
using testing::MoeReference;
using testing::MoeTensors;
using testing::top_k;
using testing::top_p;

constexpr int64_t kD = 7, kH = 5;

struct Layer {
  Tensor out, probs;
  Routing routing;
};

Layer moe_layer(Tape& tape, const MoeTensors& in, const RouteOptions& options) {
  Layer layer;
  layer.probs = softmax(tape, linear(tape, in.x, in.gate, {}));
  layer.routing = route(tape, layer.probs, options);
  const Tensor& offsets = layer.routing.expert_offsets;
  const Tensor rows = dispatch_tokens(tape, in.x, layer.routing);
  const Tensor hidden =
      grouped_linear(tape, rows, in.fc1_weight, in.fc1_bias, offsets, Epilogue::gelu);
  const Tensor y =
      grouped_linear(tape, hidden, in.fc2_weight, in.fc2_bias, offsets, Epilogue::none);
  layer.out = combine_tokens(tape, y, layer.routing);
  return layer;
}

std::array<Tensor, 6> all(const MoeTensors& t) {
  return {t.x, t.gate, t.fc1_weight, t.fc1_bias, t.fc2_weight, t.fc2_bias};
}
constexpr const char* kNames[] = {"x", "gate", "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias"};

MoeTensors random_layer(int64_t N, int64_t E, uint64_t seed) {
  const auto draw = [&seed](const Shape& shape) {
    return testing::random_tensor(shape, DType::f64, seed++);
  };
  return {draw({N, kD}), draw({E, kD}),     draw({E, kH, kD}),
          draw({E, kH}), draw({E, kD, kH}), draw({E, kD})};
}

// Every token has the same first coordinate, and the gate adds `logit` to expert `e` by it.
void attract(const MoeTensors& in, int64_t e, double logit) {
  for (int64_t n = 0; n < in.x.dim(0); ++n) in.x.data<double>()[n * kD] = 2;
  for (int64_t row = 0; row < in.gate.dim(0); ++row) {
    in.gate.data<double>()[row * kD] = row == e ? logit / 2 : 0;
  }
}

// max|a - b| / max(1, max|b|): a gradient that is zero throughout is compared absolutely.
double error_of(const Tensor& got, const Tensor& expected) {
  double difference = 0, scale = 1;
  for (int64_t i = 0; i < expected.size(); ++i) {
    const double a = got.data<double>()[i], b = expected.data<double>()[i];
    difference = std::isfinite(a) ? std::max(difference, std::abs(a - b)) : HUGE_VAL;
    scale = std::max(scale, std::abs(b));
  }
  return difference / scale;
}

void expect_follows_reference(const MoeTensors& in, const RouteOptions& options) {
  const Tensor dout = testing::random_tensor(in.x.shape(), DType::f64, 99);
  const MoeReference expected = testing::moe_reference(in, options, dout);
  Tape tape;
  for (const Tensor& input : all(in)) tape.watch(input);
  const Layer layer = moe_layer(tape, in, options);
  EXPECT_LT(error_of(layer.out, expected.out), 1e-12);
  Tape none = Tape::none();
  EXPECT_LT(error_of(testing::dense_weights(none, layer.routing), expected.weights), 1e-12);
  tape.backward(layer.out, dout);
  const auto inputs = all(in), gradients = all(expected.gradient);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_LT(error_of(tape.grad(inputs[i]), gradients[i]), 1e-12) << kNames[i];
  }
}

std::vector<RouteOptions> policies(int64_t E) {
  std::vector<RouteOptions> options;
  for (const CombineWeights weights : {raw, renormalised, renormalised_if_shared}) {
    options.push_back(top_k(1, weights));
    if (E >= 2) options.push_back(top_k(2, weights));
    for (const double p : {0.05, 0.7, 1.0}) options.push_back(top_p(p, weights));
  }
  return options;
}

void expect_follows_reference_by_every_policy(const MoeTensors& in) {
  testing::poison_storage(true);
  for (const RouteOptions& options : policies(in.gate.dim(0))) {
    SCOPED_TRACE(fmt::format("{} {} {}, weights {}",
                             options.kind == RouteOptions::Kind::top_k ? "top-k" : "top-p",
                             options.k, options.p, static_cast<int>(options.weights)));
    expect_follows_reference(in, options);
  }
#ifndef OFFSHOOT_POISON
  testing::poison_storage(false);
#endif
}

TEST(MoeLayer, IsTheSumOverKeptExpertsTokenByToken) {
  expect_follows_reference_by_every_policy(random_layer(23, 5, 1));
}

TEST(MoeLayer, ManyTokens) {
  expect_follows_reference(random_layer(541, 10, 2), top_p(0.7, renormalised_if_shared));
}

TEST(MoeLayer, OneToken) { expect_follows_reference_by_every_policy(random_layer(1, 3, 3)); }

TEST(MoeLayer, OneExpert) { expect_follows_reference_by_every_policy(random_layer(11, 1, 4)); }

TEST(MoeLayer, AnExpertWithoutTokens) {
  const MoeTensors in = random_layer(17, 4, 5);
  attract(in, 2, -60);
  expect_follows_reference_by_every_policy(in);
  Tape tape = Tape::none();
  const Layer layer = moe_layer(tape, in, top_p(0.7, raw));
  EXPECT_EQ(routing_stats(layer.probs, layer.routing).tokens_per_expert[2], 0);
}

TEST(MoeLayer, AllTokensOnOneExpert) {
  const MoeTensors in = random_layer(17, 4, 6);
  attract(in, 1, 60);
  expect_follows_reference_by_every_policy(in);
  Tape tape = Tape::none();
  const Layer layer = moe_layer(tape, in, top_p(0.7, raw));
  EXPECT_EQ(routing_stats(layer.probs, layer.routing).tokens_per_expert,
            (std::vector<int64_t>{0, 17, 0, 0}));
}

TEST(MoeLayer, SinglePrecisionFollowsDouble) {
  const testing::OpCase op_case{"layer",
                                {{131, kD}, {6, kD}, {6, kH, kD}, {6, kH}, {6, kD, kH}, {6, kD}},
                                [](Tape& tape, const std::vector<Tensor>& in) {
                                  return moe_layer(tape, {in[0], in[1], in[2], in[3], in[4], in[5]},
                                                   top_k(2, renormalised))
                                      .out;
                                }};
  EXPECT_LT(testing::single_precision_error(op_case), 1e-5);
}

// A layer whose experts are parameters of one growth group.
class GrowingLayer {
 public:
  explicit GrowingLayer(const MoeTensors& initial) : group_("experts", initial.gate.dim(0)) {
    const auto tensors = all(initial);
    for (size_t i = 1; i < tensors.size(); ++i) {
      parameters_.emplace_back(kNames[i], tensors[i], group_);
    }
  }
  GrowthGroup& group() { return group_; }

  // The tensors a pass uses: copies of the values, for the reference, and on `tape` themselves.
  MoeTensors values(const Tensor& x) const {
    return {x,
            parameters_[0].value().clone(),
            parameters_[1].value().clone(),
            parameters_[2].value().clone(),
            parameters_[3].value().clone(),
            parameters_[4].value().clone()};
  }
  MoeTensors watched(Tape& tape, const Tensor& x) {
    return {x,
            tape.watch(parameters_[0]),
            tape.watch(parameters_[1]),
            tape.watch(parameters_[2]),
            tape.watch(parameters_[3]),
            tape.watch(parameters_[4])};
  }
  std::deque<Parameter>& parameters() { return parameters_; }

 private:
  GrowthGroup group_;
  std::deque<Parameter> parameters_;
};

void expect_grown_follows_reference(GrowingLayer& layer, const Tensor& x) {
  const Tensor dout = testing::random_tensor(x.shape(), DType::f64, 98);
  for (const RouteOptions& options : policies(layer.group().rows())) {
    const MoeReference expected = testing::moe_reference(layer.values(x), options, dout);
    for (Parameter& parameter : layer.parameters()) parameter.zero_grad();
    Tape tape;
    const Layer pass = moe_layer(tape, layer.watched(tape, x), options);
    EXPECT_LT(error_of(pass.out, expected.out), 1e-12);
    tape.backward(pass.out, dout);
    const auto gradients = all(expected.gradient);
    for (size_t i = 0; i < layer.parameters().size(); ++i) {
      EXPECT_LT(error_of(layer.parameters()[i].grad(), gradients[i + 1]), 1e-12) << kNames[i + 1];
    }
  }
}

// The experts between dispatch and combine, by the router's probabilities: inputs x, probs and the
// experts' parameters. Rows are padded as the kernels want them.
testing::OpCase experts_case(std::string name, int64_t N, int64_t E, int64_t D, int64_t H,
                             const RouteOptions& options) {
  return {std::move(name),
          {{N, D}, {N, E}, {E, H, D}, {E, H}, {E, D, H}, {E, D}},
          [options, H, D](Tape& tape, const std::vector<Tensor>& in) {
            RouteOptions padded = options;
            padded.row_alignment = expert_row_alignment(in[0], H, D);
            const Routing routing = route(tape, in[1], padded);
            const Tensor rows = dispatch_tokens(tape, in[0], routing);
            const Tensor y = expert_mlp(tape, rows, in[2], in[3], in[4], in[5], routing);
            return combine_tokens(tape, y, routing);
          },
          [p = options.p](size_t index, const Tensor& input, Random& random) {
            if (index == 1) return testing::fill_probabilities(input, random, p);
            for (double& value : input.elements<double>()) value = random.normal();
          }};
}

RouteOptions at_most(int64_t k_max, RouteOptions options) {
  options.k_max = k_max;
  return options;
}

std::vector<testing::OpCase> experts_cases() {
  return {experts_case("one_token", 1, 3, 5, 7, top_k(1, raw)),
          experts_case("odd_sizes", 23, 5, 7, 13, top_p(0.7, renormalised)),
          experts_case("one_expert", 11, 1, 7, 5, top_p(1, renormalised_if_shared)),
          experts_case("more_experts", 2, 40, 5, 3, top_k(3, raw)),
          experts_case("tiles", 37, 3, 64, 128, top_p(0.7, renormalised)),
          experts_case("empty_experts", 3, 5, 64, 64, at_most(2, top_p(0.7, raw)))};
}

TEST(ExpertMlp, IsTwoGroupedLayersToTheBit) {
  const auto op_case = experts_case("", 23, 5, 7, 13, top_p(0.7, renormalised));
  auto composed = op_case;
  composed.op = [](Tape& tape, const std::vector<Tensor>& in) {
    const Routing routing = route(tape, in[1], top_p(0.7, renormalised));
    const Tensor hidden = grouped_linear(tape, dispatch_tokens(tape, in[0], routing), in[2], in[3],
                                         routing.expert_offsets, Epilogue::gelu);
    return combine_tokens(
        tape, grouped_linear(tape, hidden, in[4], in[5], routing.expert_offsets, Epilogue::none),
        routing);
  };
  const auto run = [](const testing::OpCase& which) {
    Random random(1, 1);
    std::vector<Tensor> inputs, results;
    Tape tape;
    for (size_t i = 0; i < which.inputs.size(); ++i) {
      inputs.emplace_back(which.inputs[i], DType::f64);
      which.fill(i, inputs[i], random);
      tape.watch(inputs[i]);
    }
    results.push_back(which.op(tape, inputs));
    tape.backward(results[0], testing::random_tensor(results[0].shape(), DType::f64, 2));
    for (const Tensor& input : inputs) results.push_back(tape.grad(input));
    return results;
  };
  const auto got = run(op_case), expected = run(composed);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(std::ranges::equal(got[i].elements<double>(), expected[i].elements<double>())) << i;
  }
}

TEST(ExpertMlpCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const testing::OpCase& op_case : experts_cases()) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case, {1, 2, 3, 4, 5}), 2e-2) << op_case.name;
  }
}

// Forward and backward of one case in `dtype`; how often the host waited.
int64_t waits_of(const testing::OpCase& op_case, DType dtype) {
  Random random(1, 1);
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < op_case.inputs.size(); ++i) {
    const Tensor input(op_case.inputs[i], DType::f64), single(op_case.inputs[i], DType::f32);
    op_case.fill(i, input, random);
    std::ranges::transform(input.elements<double>(), single.elements<float>().begin(),
                           [](double value) { return static_cast<float>(value); });
    inputs.push_back(single.to(testing::kCuda));
  }
  if (dtype == DType::bf16) {
    inputs[0] = Tensor::full(op_case.inputs[0], DType::bf16, 0.5, testing::kCuda);
  }
  const int64_t before = device_waits();
  Tape tape;
  for (const Tensor& input : inputs) tape.watch(input);
  const Tensor out = op_case.op(tape, inputs);
  tape.backward(out, out.clone());
  return device_waits() - before;
}

TEST(ExpertMlpCuda, WaitsAtMostOnceWhereTheHostGoesThroughTheExperts) {
  OFFSHOOT_NEEDS_CUDA();
  const auto tiles = experts_case("tiles", 37, 3, 64, 128, top_p(0.7, renormalised));
  const auto top_2 = experts_case("top_2", 37, 3, 64, 128, top_k(2, renormalised));
  for (const testing::OpCase& op_case : {tiles, top_2}) {
    EXPECT_LE(waits_of(op_case, DType::f32), testing::most_waits(1));
    const Tensor bf16({1, 64}, DType::bf16, testing::kCuda);
    const int64_t most = expert_row_alignment(bf16, 128, 64) == 1 ? 1 : 0;
    EXPECT_LE(waits_of(op_case, DType::bf16), testing::most_waits(most));
  }
}

TEST(MoeLayer, BeforeAndAfterGrowth) {
  const MoeTensors initial = random_layer(29, 3, 7);
  GrowingLayer layer(initial);
  expect_grown_follows_reference(layer, initial.x);
  layer.group().duplicate(1);  // its gate row ties with the source's: the lower slot comes first
  ASSERT_EQ(layer.parameters()[0].value().dim(0), 4);
  expect_grown_follows_reference(layer, initial.x);
  const Tensor newborn = layer.parameters()[0].value().rows(3, 1);
  for (double& w : newborn.elements<double>()) w *= 1.5;
  layer.group().duplicate(3);
  layer.group().remove(0);
  expect_grown_follows_reference(layer, initial.x);
}

TEST(MoeLayer, MatchesGoldenValues) {
  const auto options = [](const testing::GoldenCase& golden) {
    const std::string rule = golden.text("weights");
    const CombineWeights weights = rule == "raw"    ? raw
                                   : rule == "kept" ? renormalised
                                                    : renormalised_if_shared;
    return golden.text("policy") == "topk" ? top_k(golden.integer("k"), weights)
                                           : top_p(golden.number("p"), weights);
  };
  testing::expect_matches_golden("moe", [&](Tape& tape, const testing::GoldenCase& golden) {
    const Layer layer = moe_layer(tape,
                                  {golden["x"], golden["gate_weight"], golden["fc1_weight"],
                                   golden["fc1_bias"], golden["fc2_weight"], golden["fc2_bias"]},
                                  options(golden));
    Tape none = Tape::none();
    return testing::NamedTensors{{"out", layer.out},
                                 {"probs", layer.probs},
                                 {"weights", testing::dense_weights(none, layer.routing)}};
  });
  testing::expect_matches_golden("router", [&](Tape& tape, const testing::GoldenCase& golden) {
    const Tensor probs = softmax(tape, golden["logits"]);
    return testing::NamedTensors{
        {"probs", probs},
        {"weights", testing::dense_weights(tape, route(tape, probs, options(golden)))}};
  });
}

}  // namespace
}  // namespace offshoot
