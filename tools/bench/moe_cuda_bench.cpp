// moe-cuda: the MLPs of a mixture-of-experts layer on a CUDA device, gather and combine included,
// forward and backward in bf16, by each kernel of the grouped products, against the rate of a plain
// bf16 product in the same run.
#include <fmt/core.h>

#include <algorithm>

#include "engine/module.h"
#include "ops/cast.h"
#include "ops/expert_mlp.h"
#include "ops/grouped_gemm.h"
#include "ops/matmul.h"
#include "ops/permute.h"
#include "ops/softmax.h"
#include "tools/bench/bench.h"

namespace offshoot {
namespace {

constexpr int64_t kTokens = 16384, kFeatures = 1024, kHidden = 4096, kTopK = 3;

// Of the square product that stands for the device's bf16 rate.
constexpr int64_t kSquare = 8192;

// Normal numbers, the same few millions again and again: drawing is the host's work.
Tensor drawn(const Shape& shape, uint64_t stream, double deviation, Device device) {
  constexpr int64_t kPeriod = int64_t{1} << 22;
  Tensor out(shape, DType::f32);
  const int64_t drawn_numbers = std::min(out.size(), kPeriod);
  const Tensor numbers = normal({drawn_numbers}, DType::f32, Random(1, stream), 0, deviation);
  const float* const from = numbers.data<float>();
  float* const to = out.data<float>();
  for (int64_t i = 0; i < out.size(); i += drawn_numbers) {
    std::copy_n(from, std::min(drawn_numbers, out.size() - i), to + i);
  }
  return out.to(device);
}

Tensor as_bf16(const Tensor& tensor) {
  Tape none = Tape::none();
  return cast(none, tensor, DType::bf16);
}

// Seconds until the device has done what `work` gives to it.
double device_seconds(Device device, const std::function<void()>& work) {
  synchronize(device);
  return seconds_of([&] {
    work();
    synchronize(device);
  });
}

// The layer without its gate: routed tokens are the same in every call.
class Layer {
 public:
  Layer(int64_t experts, int64_t row_alignment, Device device)
      : x_(as_bf16(drawn({kTokens, kFeatures}, 1, 1, device))),
        dy_(as_bf16(drawn({kTokens, kFeatures}, 2, 1, device))),
        fc1_weight_(drawn({experts, kHidden, kFeatures}, 3, 0.03, device)),
        fc1_bias_(drawn({experts, kHidden}, 4, 0.03, device)),
        fc2_weight_(drawn({experts, kFeatures, kHidden}, 5, 0.015, device)),
        fc2_bias_(drawn({experts, kFeatures}, 6, 0.015, device)) {
    Tape none = Tape::none();
    RouteOptions options{RouteOptions::Kind::top_k, kTopK, 1.0, CombineWeights::renormalised};
    options.row_alignment = row_alignment;
    routing_ = route(none, softmax(none, drawn({kTokens, experts}, 7, 1, device)), options);
    routing_.expert_offsets.host_copy();
  }

  Tensor forward(Tape& tape) const {
    const Tensor rows = dispatch_tokens(tape, x_, routing_);
    const Tensor out =
        expert_mlp(tape, rows, fc1_weight_, fc1_bias_, fc2_weight_, fc2_bias_, routing_);
    return combine_tokens(tape, out, routing_);
  }

  // Seconds that rounding the weights takes, which is part of forward.
  double round_weights(Device device) const {
    return device_seconds(device, [&] {
      as_bf16(fc1_weight_);
      as_bf16(fc2_weight_);
    });
  }

  // Seconds of forward, and of backward.
  std::pair<double, double> run(Device device) const {
    Tape tape;
    for (const Tensor* t : {&x_, &fc1_weight_, &fc1_bias_, &fc2_weight_, &fc2_bias_}) {
      tape.watch(*t);
    }
    Tensor out;
    const double forward_seconds = device_seconds(device, [&] { out = forward(tape); });
    const double backward_seconds = device_seconds(device, [&] { tape.backward(out, dy_); });
    return {forward_seconds, backward_seconds};
  }

 private:
  Tensor x_, dy_, fc1_weight_, fc1_bias_, fc2_weight_, fc2_bias_;
  Routing routing_;
};

// TFLOP/s of one large bf16 product of random numbers.
double product_rate(Device device, int64_t rounds) {
  const Tensor a = as_bf16(drawn({kSquare, kSquare}, 8, 1, device));
  const Tensor b = as_bf16(drawn({kSquare, kSquare}, 9, 1, device));
  const auto run = [&] {
    Tape none = Tape::none();
    matmul(none, a, b);
  };
  run();
  std::vector<double> seconds;
  for (int64_t i = 0; i < rounds; ++i) seconds.push_back(device_seconds(device, run));
  return 2e-12 * static_cast<double>(kSquare * kSquare * kSquare) / median(seconds);
}

Json measured(int64_t experts, int64_t row_alignment, double rate, int64_t rounds, Device device) {
  const Layer layer(experts, row_alignment, device);
  layer.run(device);
  std::vector<double> forward, backward, rounding;
  for (int64_t i = 0; i < rounds; ++i) {
    const auto [there, back] = layer.run(device);
    forward.push_back(there);
    backward.push_back(back);
    rounding.push_back(layer.round_weights(device));
  }
  const double tflop = 2e-12 * static_cast<double>(kTokens * kTopK * kFeatures * kHidden);
  const double f = median(forward), b = median(backward);
  return Json::object({{"experts", experts},
                       {"kernel", row_alignment == 1 ? "cuBLASLt loop" : "wgmma"},
                       {"forward_ms", 1e3 * f},
                       {"backward_ms", 1e3 * b},
                       {"rounding_ms", 1e3 * median(rounding)},
                       {"forward_tflops", 2 * tflop / f},
                       {"backward_tflops", 4 * tflop / b},
                       {"percent", 100 * 6 * tflop / (f + b) / rate}});
}

}  // namespace

BenchTable bench_moe_cuda(const BenchOptions& options) {
  BenchTable table("moe-cuda",
                   fmt::format("MoE MLP on a CUDA device, gather and combine included: D {}, H {}, "
                               "top-{}, {} tokens, bf16, float32 master weights",
                               kFeatures, kHidden, kTopK, kTokens),
                   {{"experts", "experts", 8},
                    {"kernel", "kernel", 14},
                    {"forward_ms", "forward ms", 11, 2},
                    {"backward_ms", "backward", 9, 2},
                    {"rounding_ms", "rounding", 9, 2},
                    {"forward_tflops", "TFLOP/s", 8, 0},
                    {"backward_tflops", "backward", 9, 0},
                    {"percent", "percent", 8, 1}});
  const Device device = parse_device("cuda");  // throws where there is none
  const double rate = product_rate(device, options.rounds);
  for (const int64_t experts : {16, 64}) {
    // Rows padded as the best kernel wants them, and not at all for the loop that any device has.
    const Tensor like({1, kFeatures}, DType::bf16, device);
    const int64_t best = expert_row_alignment(like, kHidden, kFeatures);
    table.add(measured(experts, 1, rate, options.rounds, device));
    if (best > 1) table.add(measured(experts, best, rate, options.rounds, device));
  }
  table.note(fmt::format("on {}; a bf16 product of {}^3 ran at {:.0f} TFLOP/s", describe(device),
                         kSquare, rate));
  table.note("rounding: of the weights to bf16, a part of forward");
  table.note("percent: of the rate of the bf16 product, forward and backward together");
  return table;
}

}  // namespace offshoot
