// moe: a mixture-of-experts layer, forward and backward, against oneDNN on its products alone.
#include <fmt/core.h>

#include <algorithm>

#include "models/layer_record.h"
#include "models/moe.h"
#include "tools/bench/bench.h"
#include "tools/bench/onednn.h"

namespace offshoot {
namespace {

constexpr int64_t kFeatures = 768, kHidden = 3072, kExperts = 8, kTokens = 4096;

struct RoutingSink final : LayerSink {
  void add(const LayerRecord& record) override { routing = record.routed.routing; }
  Routing routing;
};

MoeOptions layer_options() {
  const RouteOptions top_2{RouteOptions::Kind::top_k, 2, 1.0, CombineWeights::renormalised};
  MoeOptions options;
  options.features = kFeatures;
  options.hidden = kHidden;
  options.experts = kExperts;
  options.route = top_2;
  return options;
}

class Layer {
 public:
  Layer()
      : layer_(Scope{"moe", DType::f32, 1}, layer_options()),
        x_(normal({kTokens, kFeatures}, DType::f32, Random(1, 1), 0, 1)),
        dy_(normal({kTokens, kFeatures}, DType::f32, Random(1, 2), 0, 1)) {}

  void forward_backward() {
    for (Parameter* p : parameters(layer_)) p->zero_grad();
    Tape tape;
    tape.watch(x_);
    Context context{tape, true};
    context.sink = &sink_;
    const Tensor y = layer_.forward(context, x_);
    tape.backward(y, dy_);
  }

  // Rows of each expert, from the last call.
  std::vector<int64_t> rows() const {
    const Tensor tokens = sink_.routing.tokens_per_expert.host_copy();
    const auto rows = tokens.elements<int64_t>();
    return {rows.begin(), rows.end()};
  }

 private:
  MoeLayer layer_;
  Tensor x_, dy_;
  RoutingSink sink_;
};

// The layer's six products of every expert, by oneDNN, on memory of their own.
class Products {
 public:
  explicit Products(std::vector<int64_t> rows) : rows_(std::move(rows)) {
    const int64_t P = 2 * kTokens;
    x_ = made({P, kFeatures}), hidden_ = made({P, kHidden}), dhidden_ = made({P, kHidden});
    out_ = made({P, kFeatures}), dout_ = made({P, kFeatures}), dx_ = made({P, kFeatures});
    fc1_ = made({kExperts, kHidden, kFeatures}), dfc1_ = made({kExperts, kHidden, kFeatures});
    fc2_ = made({kExperts, kFeatures, kHidden}), dfc2_ = made({kExperts, kFeatures, kHidden});
  }

  void multiply() const {
    constexpr int64_t D = kFeatures, H = kHidden;
    int64_t first = 0;
    for (int64_t e = 0; e < kExperts; ++e) {
      const int64_t M = rows_[static_cast<size_t>(e)];
      const float *x = at(x_, first * D), *dout = at(dout_, first * D);
      const float *fc1 = at(fc1_, e * H * D), *fc2 = at(fc2_, e * H * D);
      float *hidden = at(hidden_, first * H), *dhidden = at(dhidden_, first * H);
      onednn_gemm(M, H, D, {x, D, false}, {fc1, D, true}, hidden, H);
      onednn_gemm(M, D, H, {hidden, H, false}, {fc2, H, true}, at(out_, first * D), D);
      onednn_gemm(M, H, D, {dout, D, false}, {fc2, H, false}, dhidden, H);
      onednn_gemm(D, H, M, {dout, D, true}, {hidden, H, false}, at(dfc2_, e * H * D), H);
      onednn_gemm(M, D, H, {dhidden, H, false}, {fc1, D, false}, at(dx_, first * D), D);
      onednn_gemm(H, D, M, {dhidden, H, true}, {x, D, false}, at(dfc1_, e * H * D), D);
      first += M;
    }
  }

 private:
  static Tensor made(const Shape& shape) {
    return uniform(shape, DType::f32, Random(2, static_cast<uint64_t>(shape.size())), -1, 1);
  }
  static float* at(const Tensor& tensor, int64_t offset) { return tensor.data<float>() + offset; }

  std::vector<int64_t> rows_;
  Tensor x_, hidden_, dhidden_, out_, dout_, dx_, fc1_, fc2_, dfc1_, dfc2_;
};

}  // namespace

BenchTable bench_moe(const BenchOptions& options) {
  BenchTable table("moe",
                   fmt::format("MoE layer, forward and backward: D {}, H {}, E {}, top-2, {} "
                               "tokens, f32; against oneDNN's rate on the same products",
                               kFeatures, kHidden, kExperts, kTokens),
                   {{"layer_ms", "layer ms", 10, 1},
                    {"onednn_ms", "oneDNN ms", 10, 1},
                    {"layer_gflops", "GFLOP/s", 8, 1},
                    {"onednn_gflops", "oneDNN", 8, 1},
                    {"percent", "percent", 8, 1},
                    {"percent_of_best", "of best", 8, 1}});
  Layer layer;
  layer.forward_backward();
  const Products products(layer.rows());
  const std::vector<Contestant> contestants = {
      [&] { return seconds_of([&] { layer.forward_backward(); }); },
      [&] { return seconds_of([&] { products.multiply(); }); }};
  const auto seconds = alternate(options.rounds, contestants);
  const double gflop = 6 * 2e-9 * static_cast<double>(2 * kTokens * kFeatures * kHidden);
  table.add(Json::object(
      {{"layer_ms", 1e3 * median(seconds[0])},
       {"onednn_ms", 1e3 * median(seconds[1])},
       {"layer_gflops", gflop / median(seconds[0])},
       {"onednn_gflops", gflop / median(seconds[1])},
       {"percent", 100 * median_ratio(seconds[1], seconds[0])},
       {"percent_of_best", 100 * std::ranges::min(seconds[1]) / std::ranges::min(seconds[0])},
       {"rows", Json(layer.rows())}}));
  table.note("percent: median over the rounds; of best: each one's fastest round");
  return table;
}

}  // namespace offshoot
