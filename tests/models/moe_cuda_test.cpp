// The mixture-of-experts layer on CUDA, against the same layer on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/testing/gradcheck.h"
#include "models/layer_record.h"
#include "models/moe.h"
#include "ops/cast.h"
#include "ops/grouped_gemm.h"
#include "tests/models/router_kinds.h"
#include "tests/support/cuda_device.h"
#include "tests/support/waits.h"

namespace offshoot {
namespace {

using testing::kCuda;
using testing::random_tensor;
using testing::relative_error;
using testing::router_cases;
using testing::RouterCase;
using testing::sized;
using Kind = RouteOptions::Kind;

// Multiples of 8, so that bf16 takes the kernel that reads all sizes on the device.
constexpr int64_t kFeatures = 16, kHidden = 24, kExperts = 4;

const RouteOptions kRoutes[] = {{Kind::top_k, 1, 1, CombineWeights::raw},
                                {Kind::top_k, 2, 1, CombineWeights::renormalised},
                                {Kind::top_p, 1, 0.6, CombineWeights::renormalised_if_shared},
                                {Kind::top_p, 1, 0.9, CombineWeights::renormalised, 2}};

MoeOptions moe_options(const RouteOptions& route, int64_t features = kFeatures) {
  MoeOptions options;
  options.features = features;
  options.hidden = kHidden;
  options.experts = kExperts;
  options.route = route;
  options.gate_bias = true;
  return options;
}

// x, or its bf16 neighbours in float32, which are what a bf16 pass starts from.
Tensor rounded(const Tensor& x) {
  const Tensor out = x.clone();
  for (float& value : out.elements<float>()) value = to_float(to_bfloat16(value));
  return out;
}

Tensor widened(const Tensor& x) {
  const Tensor here = x.to(Device{});
  if (here.dtype() == DType::f32) return here;
  const Tensor out(here.shape(), DType::f32);
  std::ranges::transform(here.elements<bfloat16>(), out.elements<float>().begin(), to_float);
  return out;
}

// A layer, and what its passes computed, on the CPU in float32.
class Layer {
 public:
  Layer(Device device, const MoeOptions& options)
      : device_(device), layer_(Scope{"moe", DType::f32, 4, device}, options) {}

  GrowthGroup& group() { return layer_.group(); }

  // The output, dx, and all gradients so far.
  std::vector<Tensor> pass(const Tensor& x, DType dtype) {
    Tape tape;
    const Tensor there = x.to(device_);
    tape.watch(there);
    Context context{tape, true, {}, {{"moe", {{2, 0.3}}}}};
    const Tensor input = dtype == there.dtype() ? there : cast(tape, there, dtype);
    const Tensor y = layer_.forward(context, input);
    const Tensor seed = rounded(random_tensor(y.shape(), DType::f32, 9)).to(device_);
    Tape none = Tape::none();
    tape.backward(y, dtype == seed.dtype() ? seed : cast(none, seed, dtype));
    std::vector<Tensor> results{widened(y), widened(tape.grad(there))};
    for (Parameter* p : parameters(layer_)) results.push_back(widened(p->grad()));
    return results;
  }

  void zero_grad() {
    for (Parameter* p : parameters(layer_)) p->zero_grad();
  }

  std::vector<std::string> names() {
    std::vector<std::string> names{"y", "dx"};
    for (Parameter* p : parameters(layer_)) names.push_back(p->name());
    return names;
  }

 private:
  Device device_;
  MoeLayer layer_;
};

void expect_near(Layer& layer, const std::vector<Tensor>& got, const std::vector<Tensor>& expected,
                 double most) {
  const std::vector<std::string> names = layer.names();
  ASSERT_EQ(got.size(), names.size());
  for (size_t i = 0; i < got.size(); ++i) {
    // Where two experts share a token the gate's gradients are p (1 - p), and cancel where it is
    // nearly sure.
    const double its_most =
        names[i].find("gate") != std::string::npos ? std::max(most, 1e-3) : most;
    EXPECT_LT(relative_error(got[i], expected[i]), its_most) << names[i];
  }
}

TEST(MoeLayerCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const RouteOptions& route : kRoutes) {
    for (const int64_t features : {kFeatures, int64_t{7}}) {
      Layer there(kCuda, moe_options(route, features)), here({}, moe_options(route, features));
      for (const int64_t tokens : {1, 37}) {
        const Tensor x = random_tensor({tokens, features}, DType::f32, 3);
        there.zero_grad(), here.zero_grad();
        expect_near(there, there.pass(x, DType::f32), here.pass(x, DType::f32), 1e-5);
      }
    }
  }
}

TEST(MoeLayerCuda, WithEveryRouterFollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const RouterCase& router : router_cases()) {
    SCOPED_TRACE(router.name);
    for (const int64_t features : {kFeatures, int64_t{7}}) {
      MoeOptions options = sized(router.options, features, kHidden);
      options.shared_hidden = 5;
      Layer there(kCuda, options), here({}, options);
      for (const int64_t tokens : {1, 37}) {
        const Tensor x = random_tensor({tokens, features}, DType::f32, 3);
        there.zero_grad(), here.zero_grad();
        expect_near(there, there.pass(x, DType::f32), here.pass(x, DType::f32), 1e-5);
      }
      const Tensor x = rounded(random_tensor({3, 13, features}, DType::f32, 3));
      there.zero_grad(), here.zero_grad();
      expect_near(there, there.pass(x, DType::bf16), here.pass(x, DType::f32), 2e-2);
    }
  }
}

TEST(MoeLayerCuda, InBfloat16FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const RouteOptions& route : kRoutes) {
    for (const int64_t features : {kFeatures, int64_t{7}}) {
      Layer there(kCuda, moe_options(route, features)), here({}, moe_options(route, features));
      const Tensor x = rounded(random_tensor({3, 13, features}, DType::f32, 3));
      expect_near(there, there.pass(x, DType::bf16), here.pass(x, DType::f32), 2e-2);
    }
  }
}

TEST(MoeLayerCuda, NoTokensIsLegal) {
  OFFSHOOT_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Layer layer(kCuda, moe_options(kRoutes[2]));
    const auto results = layer.pass(Tensor({0, kFeatures}, DType::f32), dtype);
    for (size_t i = 2; i < results.size(); ++i) {
      for (const float g : results[i].elements<float>()) EXPECT_EQ(g, 0.0f);
    }
  }
}

// Gradients are kept and divided over growth; the newborn's gate row ties with its parent's.
TEST(MoeLayerCuda, GrowsAndShrinksBetweenPassesAsOnTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const auto& [dtype, most] : {std::pair(DType::f32, 1e-5), std::pair(DType::bf16, 2e-2)}) {
    Layer there(kCuda, moe_options(kRoutes[2])), here({}, moe_options(kRoutes[2]));
    const Tensor x = rounded(random_tensor({37, kFeatures}, DType::f32, 3));
    const auto compare = [&, dtype = dtype, most = most] {
      expect_near(there, there.pass(x, dtype), here.pass(x, DType::f32), most);
    };
    compare();
    for (Layer* layer : {&there, &here}) layer->group().duplicate(1);
    compare();
    for (Layer* layer : {&there, &here}) layer->group().remove(0);
    compare();
    for (Layer* layer : {&there, &here}) {
      layer->group().duplicate(0);
      layer->group().duplicate(4);
    }
    compare();
  }
}

TEST(MoeLayerCuda, WithEveryRouterGrowsAsOnTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const RouterCase& router : router_cases()) {
    SCOPED_TRACE(router.name);
    const MoeOptions options = sized(router.options, kFeatures, kHidden);
    Layer there(kCuda, options), here({}, options);
    const Tensor x = random_tensor({37, kFeatures}, DType::f32, 3);
    for (Layer* layer : {&there, &here}) {
      layer->group().duplicate(1);
      layer->group().remove(0);
      layer->group().append(1, [](std::string_view, const Tensor& rows) {
        copy_elements(random_tensor(rows.shape(), DType::f32, 8).to(rows.device()), rows);
      });
    }
    expect_near(there, there.pass(x, DType::f32), here.pass(x, DType::f32), 1e-5);
  }
}

TEST(MoeLayerCuda, TellsItsSinkWhatTheCpusDoes) {
  OFFSHOOT_NEEDS_CUDA();
  struct Sink final : LayerSink {
    void add(const LayerRecord& record) override {
      stats = routing_stats(record.routed.probs, record.routed.routing);
    }
    RoutingStats stats;
  };
  const Tensor x = random_tensor({37, kFeatures}, DType::f32, 3);
  const auto stats_on = [&x](Device device) {
    MoeLayer layer(Scope{"moe", DType::f32, 4, device}, moe_options(kRoutes[2]));
    Tape tape = Tape::none();
    Sink sink;
    Context context{tape, false, {}, {}, &sink};
    layer.forward(context, x.to(device));
    return sink.stats;
  };
  const RoutingStats there = stats_on(kCuda), here = stats_on({});
  EXPECT_EQ(there.tokens_per_expert, here.tokens_per_expert);
  EXPECT_EQ(there.mean_active, here.mean_active);
  for (size_t e = 0; e < kExperts; ++e) {
    EXPECT_NEAR(there.probability_mass[e], here.probability_mass[e], 1e-6);
  }
}

TEST(MoeLayerCuda, WaitsOnceAtMostAndOnlyForTheHost) {
  OFFSHOOT_NEEDS_CUDA();
  std::vector<MoeOptions> all{moe_options(kRoutes[2])};
  for (const RouterCase& router : router_cases()) {
    all.push_back(sized(router.options, kFeatures, kHidden));
  }
  for (const MoeOptions& options : all) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      MoeLayer layer(Scope{"moe", DType::f32, 4, kCuda}, options);
      const Tensor x = Tensor::full({37, kFeatures}, dtype, 0.5, kCuda);
      const int64_t before = device_waits();
      Tape tape;
      Context context{tape, true};
      const Tensor y = layer.forward(context, x);
      tape.backward(y, y.clone());
      const bool by_host = expert_row_alignment(x, kHidden, kFeatures) == 1;
      EXPECT_LE(device_waits() - before, testing::most_waits(by_host ? 1 : 0));
    }
  }
}

}  // namespace
}  // namespace offshoot
