// ops: every operation, forward alone and with its backward.
#include <fmt/core.h>

#include <utility>

#include "engine/module.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/balance.h"
#include "ops/binary.h"
#include "ops/cosine_rows.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/expert_stats.h"
#include "ops/grouped_gemm.h"
#include "ops/layer_norm.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/matmul.h"
#include "ops/permute.h"
#include "ops/reduce.h"
#include "ops/route.h"
#include "ops/rows.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "ops/where.h"
#include "tools/bench/bench.h"

namespace offshoot {
namespace {

using Inputs = std::vector<Tensor>;
using Op = std::function<Tensor(Tape&, const Inputs&)>;

// N tokens of D features in sequences of T; E experts of H hidden units; V tokens in the
// vocabulary.
struct Scale {
  const char* name;
  int64_t N, D, heads, T, E, H, V;
};
constexpr Scale kHmm = {"hmm", 1024, 64, 4, 64, 10, 32, 50};
constexpr Scale kLarge = {"large", 4096, 768, 12, 512, 8, 768, 8192};

struct Case {
  std::string name;
  std::vector<Shape> inputs;  // differentiated
  Op op;
};

Tensor indices(int64_t count, int64_t bound, DType dtype) {
  Random random(7, 0);
  Tensor tensor({count}, dtype);
  for (int64_t i = 0; i < count; ++i) {
    if (dtype == DType::i32) {
      tensor.data<int32_t>()[i] = static_cast<int32_t>(random.below(bound));
    } else {
      tensor.data<int64_t>()[i] = random.below(bound);
    }
  }
  return tensor;
}

Case unary(const Scale& s, std::string name, Tensor (*op)(Tape&, const Tensor&)) {
  return {std::move(name), {{s.N, s.D}}, [op](Tape& tape, const Inputs& in) {
            return op(tape, in[0]);
          }};
}

Case binary(const Scale& s, std::string name, const Shape& b,
            Tensor (*op)(Tape&, const Tensor&, const Tensor&)) {
  return {std::move(name), {{s.N, s.D}, b}, [op](Tape& tape, const Inputs& in) {
            return op(tape, in[0], in[1]);
          }};
}

std::vector<Case> elementwise(const Scale& s) {
  const Shape all{s.N, s.D};
  const Tensor condition = indices(s.N * s.D, 2, DType::i32).view(all);
  return {
      binary(s, "add", all, add),
      binary(s, "add, row", {s.D}, add),
      binary(s, "sub", all, sub),
      binary(s, "mul", all, mul),
      binary(s, "div", all, div),
      binary(s, "maximum", all, maximum),
      {"where",
       {all, all},
       [condition](Tape& tape, const Inputs& in) { return where(tape, condition, in[0], in[1]); }},
      unary(s, "neg", neg),
      {"scale", {all}, [](Tape& tape, const Inputs& in) { return scale(tape, in[0], 0.5); }},
      unary(s, "exp", exp),
      unary(s, "log", log),
      unary(s, "sqrt", sqrt),
      unary(s, "square", square),
      unary(s, "abs", abs),
      {"clamp", {all}, [](Tape& tape, const Inputs& in) { return clamp(tape, in[0], 0.2, 0.8); }},
      unary(s, "relu", relu),
      unary(s, "gelu", gelu),
      unary(s, "gelu_tanh", gelu_tanh),
      unary(s, "silu", silu),
      unary(s, "tanh", tanh),
      unary(s, "sigmoid", sigmoid),
      {"dropout 0.1", {all}, [](Tape& tape, const Inputs& in) {
         return dropout(tape, in[0], 0.1, {}, 3, true);
       }}};
}

std::vector<Case> reductions(const Scale& s) {
  const Shape all{s.N, s.D};
  return {unary(s, "sum", sum),
          unary(s, "mean", mean),
          unary(s, "max", max),
          {"sum, axis 0", {all}, [](Tape& tape, const Inputs& in) { return sum(tape, in[0], 0); }},
          {"sum, axis 1", {all}, [](Tape& tape, const Inputs& in) { return sum(tape, in[0], 1); }},
          {"max, axis 1", {all}, [](Tape& tape, const Inputs& in) { return max(tape, in[0], 1); }},
          unary(s, "softmax", softmax),
          unary(s, "log_softmax", log_softmax),
          {"layer_norm", {all, {s.D}, {s.D}}, [](Tape& tape, const Inputs& in) {
             return layer_norm(tape, in[0], in[1], in[2]);
           }}};
}

std::vector<Case> layout(const Scale& s) {
  const Shape all{s.N, s.D};
  const Tensor rows = indices(s.N, s.N, DType::i64);
  const int64_t half = s.D / 2, tokens = s.N;
  return {{"slice",
           {all},
           [half](Tape& tape, const Inputs& in) { return slice(tape, in[0], 1, 0, half); }},
          {"concat", {all, all}, [](Tape& tape, const Inputs& in) { return concat(tape, in, 1); }},
          {"stack", {all, all}, [](Tape& tape, const Inputs& in) { return stack(tape, in, 0); }},
          {"transpose",
           {all},
           [](Tape& tape, const Inputs& in) { return transpose(tape, in[0], 0, 1); }},
          {"gather_rows",
           {all},
           [rows](Tape& tape, const Inputs& in) { return gather_rows(tape, in[0], rows); }},
          {"scatter_rows", {all}, [rows, tokens](Tape& tape, const Inputs& in) {
             return scatter_rows(tape, in[0], rows, tokens);
           }}};
}

std::vector<Case> network(const Scale& s) {
  const Tensor tokens = indices(s.N, s.V, DType::i32);
  const AttentionOptions causal{s.heads, true};
  return {{"linear D to 3 D",
           {{s.N, s.D}, {3 * s.D, s.D}, {3 * s.D}},
           [](Tape& tape, const Inputs& in) { return linear(tape, in[0], in[1], in[2]); }},
          {"matmul",
           {{s.N, s.D}, {s.D, s.D}},
           [](Tape& tape, const Inputs& in) { return matmul(tape, in[0], in[1]); }},
          {"self_attention, causal",
           {{s.N / s.T, s.T, 3 * s.D}},
           [causal](Tape& tape, const Inputs& in) { return self_attention(tape, in[0], causal); }},
          {"embedding",
           {{s.V, s.D}},
           [tokens](Tape& tape, const Inputs& in) { return embedding(tape, in[0], tokens); }},
          {"cross_entropy", {{s.N, s.V}}, [tokens](Tape& tape, const Inputs& in) {
             return cross_entropy(tape, in[0], tokens);
           }}};
}

std::vector<Case> experts(const Scale& s) {
  Tape none = Tape::none();
  const RouteOptions top_2{RouteOptions::Kind::top_k, 2, 1.0, CombineWeights::renormalised};
  const RouteOptions top_p{RouteOptions::Kind::top_p, 1, 0.7, CombineWeights::raw};
  const Tensor probs = softmax(none, uniform({s.N, s.E}, DType::f32, Random(2, 0), 0, 2));
  const Routing routing = route(none, probs, top_2);
  const int64_t pairs = routing.pairs();
  std::vector<std::pair<int64_t, int64_t>> neighbours;
  for (int64_t e = 1; e < s.E; ++e) neighbours.emplace_back(e - 1, e);
  return {
      {"route, top-2",
       {{s.N, s.E}},
       [top_2](Tape& tape, const Inputs& in) { return route(tape, in[0], top_2).weights; }},
      {"route, top-p 0.7",
       {{s.N, s.E}},
       [top_p](Tape& tape, const Inputs& in) { return route(tape, in[0], top_p).weights; }},
      {"dispatch_tokens",
       {{s.N, s.D}},
       [routing](Tape& tape, const Inputs& in) { return dispatch_tokens(tape, in[0], routing); }},
      {"grouped_linear, gelu",
       {{pairs, s.D}, {s.E, s.H, s.D}, {s.E, s.H}},
       [routing](Tape& tape, const Inputs& in) {
         return grouped_linear(tape, in[0], in[1], in[2], routing.expert_offsets, Epilogue::gelu);
       }},
      {"combine_tokens",
       {{pairs, s.D}},
       [routing](Tape& tape, const Inputs& in) { return combine_tokens(tape, in[0], routing); }},
      {"load_balance_loss",
       {{s.N, s.E}},
       [routing](Tape& tape, const Inputs& in) { return load_balance_loss(tape, in[0], routing); }},
      {"router_z_loss",
       {{s.N, s.E}},
       [](Tape& tape, const Inputs& in) { return router_z_loss(tape, in[0]); }},
      {"cosine_rows", {{s.E, s.D}}, [neighbours](Tape& tape, const Inputs& in) {
         return cosine_rows(tape, in[0], neighbours);
       }}};
}

// Numbers in (0, 1], in rows that sum to 1 where an operation wants probabilities.
Inputs inputs_of(const Case& c) {
  Inputs inputs;
  uint64_t stream = 1;
  for (const Shape& shape : c.inputs) {
    inputs.push_back(uniform(shape, DType::f32, Random(3, stream++), 0.01, 1.0));
  }
  if (c.name.rfind("route", 0) == 0) {
    Tape none = Tape::none();
    inputs[0] = softmax(none, inputs[0]);
  }
  return inputs;
}

void measure(const Scale& scale, const Case& c, int64_t rounds, BenchTable& table) {
  const Inputs inputs = inputs_of(c);
  Tape none = Tape::none();
  const Tensor seed = Tensor::full(c.op(none, inputs).shape(), DType::f32, 1.0);
  const auto forward = [&] { c.op(none, inputs); };
  const auto both = [&] {
    Tape tape;
    for (const Tensor& input : inputs) tape.watch(input);
    tape.backward(c.op(tape, inputs), seed);
  };
  const std::vector<Contestant> contestants = {[&] { return seconds_per_call(forward); },
                                               [&] { return seconds_per_call(both); }};
  const auto seconds = alternate(rounds, contestants);
  std::string shapes;
  for (const Shape& shape : c.inputs) {
    if (!shapes.empty()) shapes += ' ';
    shapes += to_string(shape);
  }
  table.add(Json::object({{"scale", scale.name},
                          {"op", c.name},
                          {"forward_us", 1e6 * median(seconds[0])},
                          {"both_us", 1e6 * median(seconds[1])},
                          {"inputs", shapes}}));
}

// What decides about growth; no gradients.
void measure_statistics(const Scale& s, int64_t rounds, BenchTable& table) {
  const Tensor a = uniform({s.E, s.H, s.D}, DType::f32, Random(4, 0), -1, 1);
  const Tensor b = uniform({s.E, s.H, s.D}, DType::f32, Random(4, 1), -1, 1);
  const std::pair<const char*, std::function<void()>> all[] = {
      {"expert_norms", [&] { expert_norms({{a}}); }},
      {"expert_cosines", [&] { expert_cosines(a, b); }},
      {"project_rows", [&] { project_rows(a, b); }}};
  for (const auto& [name, f] : all) {
    const Contestant contestant = [&f = f] { return seconds_per_call(f); };
    const auto seconds = alternate(rounds, {&contestant, 1});
    table.add(Json::object({{"scale", s.name},
                            {"op", name},
                            {"forward_us", 1e6 * median(seconds[0])},
                            {"both_us", nullptr},
                            {"inputs", to_string(a.shape())}}));
  }
}

}  // namespace

BenchTable bench_ops(const BenchOptions& options) {
  BenchTable table("ops", "microseconds of one call, f32",
                   {{"scale", "scale", 6},
                    {"op", "operation", 24},
                    {"forward_us", "forward", 10, 1},
                    {"both_us", "+ backward", 10, 1},
                    {"inputs", "inputs", 8}});
  for (const Scale& scale : {kHmm, kLarge}) {
    for (const auto& family : {elementwise, reductions, layout, network, experts}) {
      for (const Case& c : family(scale)) measure(scale, c, options.rounds, table);
    }
    measure_statistics(scale, options.rounds, table);
    release_pooled_storage();
  }
  return table;
}

}  // namespace offshoot
