// A growth policy of your own.
//
// When to grow, and whom, is what a `GrowthPolicy` decides between backward and step. This one
// duplicates the busiest expert whenever the mean of 100 losses falls by less than a tenth. The
// library's policies, `MassController` first, derive from it, too.
//
// - `see` is told, layer by layer, how tokens were routed.
// - What a policy knows of each expert is a `RowTensor` that joins the layer's growth group. Its
//   rows follow the experts: a duplicate's statistic is a copy, a removed expert's is gone.
// - `duplicate` takes a note: who decided, when and why. The log keeps it, and so do checkpoints.
//
// Run it:
//
//     ninja -C build/release example_own_growth_policy && build/release/examples/own_growth_policy
//
// One expert of two hidden units begins to learn y = sin(3 x). It prints
//
//     step 199: mean loss 0.499, expert 0 -> 1
//     ...
//     8 experts: loss 0.035
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/row_tensor.h"
#include "mass/growth_policy.h"
#include "models/moe.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/unary.h"
#include "optim/adam.h"

using namespace offshoot;

namespace {

class PlateauPolicy final : public GrowthPolicy {
 public:
  explicit PlateauPolicy(MoeLayer& layer)
      : layer_(layer),
        load_("load", {layer.experts()}, DType::f64, kMaxExperts, NewRow::copy),
        membership_(layer.group().join(load_)) {}

  std::string_view name() const override { return "plateau"; }
  bool monitors(int64_t) const override { return true; }

  void see(size_t, const LayerRecord& record) override {
    const Tensor tokens = record.routed.routing.tokens_per_expert.to(Device{});
    for (int64_t row = 0; row < layer_.experts(); ++row) {
      double& load = load_.tensor().data<double>()[row];
      load += 0.1 * (static_cast<double>(tokens.data<int64_t>()[row]) - load);
    }
  }

  std::vector<GrowthEvent> grow(int64_t step, const std::vector<std::vector<int64_t>>&, double loss,
                                const Probe&) override {
    sum_ += loss;
    if (step % 100 != 99) return {};
    const double mean_loss = std::exchange(sum_, 0.0) / 100;
    const bool falls = mean_loss < 0.9 * std::exchange(previous_, mean_loss);
    if (falls || layer_.experts() == kMaxExperts) return {};
    const auto load = load_.tensor().elements<double>();
    const auto busiest = std::ranges::max_element(load) - load.begin();
    const int64_t parent = layer_.group().ids()[busiest];
    const int64_t id = layer_.group().duplicate(busiest, {step, "plateau", {{"loss", mean_loss}}});
    fmt::print("step {}: mean loss {:.3f}, expert {} -> {}\n", step, mean_loss, parent, id);
    return {
        {GrowthEvent::Kind::expand, step, layer_.name(), parent, id, 0, 0, 0, layer_.experts()}};
  }

 private:
  static constexpr int64_t kMaxExperts = 8;
  MoeLayer& layer_;
  RowTensor load_;  // [E], a running mean of the tokens of each expert
  GrowthGroup::Membership membership_;
  double sum_ = 0, previous_ = std::numeric_limits<double>::infinity();
};

}  // namespace

int main() {
  MoeLayer moe(Scope{"moe"}, {.features = 1, .hidden = 2, .experts = 1, .gate_bias = true});
  moe.fc1_weight().set_gradient_split(GradientSplit::project_rows);
  AdamW optimizer({{parameters(moe)}});
  PlateauPolicy policy(moe);
  for (int64_t step = 0; step < 2000; ++step) {
    const Random random(/*seed=*/1, /*stream=*/step);
    const Tensor x = normal({256, 1}, DType::f32, random, /*mean=*/0.0, /*deviation=*/1.0);
    const Tensor target = x.clone();
    for (float& y : target.elements<float>()) y = std::sin(3 * y);
    Tape tape;
    GrowthSink sink(policy);
    Context context{.tape = tape, .train = true, .sink = &sink};
    const Tensor loss = mean(tape, square(tape, sub(tape, moe.forward(context, x), target)));
    optimizer.zero_grad();
    tape.backward(loss);
    policy.grow(step, sink.tokens(), loss.item(), {});
    optimizer.step(/*rate=*/5e-3);
    if (step == 1999) fmt::print("{} experts: loss {:.3f}\n", moe.experts(), loss.item());
  }
}
