// The library's growth policies on one task, and how a program lets its user choose.
//
// A `GrowthPolicy` is told how tokens are routed (`GrowthSink`), looks at the gradients between
// backward and step (`grow`), and may add a loss of its own (`auxiliary_backward`). So one training
// loop does for all of them, whatever the router:
//
// - `mass` duplicates an expert where it finds drift, and probes whether the last one earned it;
// - `schedule` splits the busiest expert by the clock, `random` any expert at any time;
// - `dynmoe` adds an expert where tokens find none, and removes those that nobody wants.
//
// Run it:
//
//     ninja -C build/release example_growth_policies && build/release/examples/growth_policies
//
// Two experts of two hidden units each begin to learn y = sin(3 x). It prints
//
//     never     2 experts, loss 0.066
//     mass      6 experts, loss 0.039; the last: expert 6 in step 232
//     ...
#include <fmt/core.h>

#include <cmath>

#include "mass/policies.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/unary.h"
#include "optim/adam.h"

using namespace offshoot;

namespace {

constexpr int64_t kSteps = 1500, kMaxExperts = 6;

PolicyOptions options_of(PolicyKind kind) {
  PolicyOptions options;
  options.kind = kind;
  options.mass = mass_options(MassPreset::paper, kSteps);
  options.mass.phase_end = kSteps / 2;
  options.mass.window = 40;
  options.mass.alpha = 0.2;
  options.mass.delta = 0.3;  // few weights: their directions are often near
  options.mass.max_experts = options.dynmoe.max_experts = kMaxExperts;
  options.dynmoe.phase_end = kSteps / 2;
  options.every = 100;
  return options;
}

void train(PolicyKind kind) {
  MoeOptions layer{.features = 1, .hidden = 2, .experts = 2, .max_experts = kMaxExperts};
  layer.route = {.kind = RouteOptions::Kind::top_p, .p = 0.9};
  if (kind == PolicyKind::dynmoe) {
    layer.router = RouterKind::top_any;
    layer.route = {};
  }
  MoeLayer moe(Scope{"moe", DType::f32, /*seed=*/3}, layer);
  const PolicyOptions options = options_of(kind);
  const auto policy = make_growth_policy({&moe}, options);  // null for `never`
  AdamW optimizer({{parameters(moe)}}, {.newborn = newborn_of(options)});
  std::string last;
  for (int64_t step = 0; step < kSteps; ++step) {
    const Random random(/*seed=*/1, /*stream=*/step);
    const Tensor x = normal({256, 1}, DType::f32, random, /*mean=*/0.0, /*deviation=*/1.0);
    const auto loss_of = [&](Context& context) {
      const Tensor target = x.clone();
      for (float& y : target.elements<float>()) y = std::sin(3 * y);
      return mean(context.tape,
                  square(context.tape, sub(context.tape, moe.forward(context, x), target)));
    };
    Tape tape;
    std::optional<GrowthSink> sink;
    if (policy && policy->monitors(step)) sink.emplace(*policy);
    Context context{.tape = tape, .train = true, .sink = sink ? &*sink : nullptr};
    const Tensor loss = loss_of(context);
    optimizer.zero_grad();
    tape.backward(loss);
    if (sink) {
      const auto probe = [&](const auto& offsets, bool) {  // without some of the experts
        Tape none = Tape::none();
        Context masked{.tape = none, .train = true, .row_offsets = offsets};
        return static_cast<double>(loss_of(masked).item());
      };
      for (const GrowthEvent& event : policy->grow(step, sink->tokens(), loss.item(), probe)) {
        if (event.created < 0) continue;
        last = fmt::format("; the last: expert {} in step {}", event.created, event.step);
      }
    }
    if (policy) policy->auxiliary_backward(step);
    optimizer.step(/*rate=*/5e-3);
    if (step + 1 < kSteps) continue;
    fmt::print("{:<9} {} experts, loss {:.3f}{}\n", to_string(kind), moe.experts(), loss.item(),
               last);
  }
}

}  // namespace

int main() {
  for (const auto kind : {PolicyKind::never, PolicyKind::mass, PolicyKind::schedule,
                          PolicyKind::random, PolicyKind::dynmoe}) {
    train(kind);
  }
}
