// A router of your own.
//
// `MoeLayer` takes any `Router`: a module that scores every token against every expert and hands
// its scores to `route`, which picks. This one scores by cosine (Chi et al. 2022, arXiv
// 2204.09179): a token goes to the expert whose direction it points in, however long it is.
//
// - The router's parameter is made with the layer's growth group: one row an expert, which comes
//   and goes with the expert.
// - It is made of operations, which take the tape first: it needs no backward of its own.
// - The third argument of `MoeLayer` makes the router.
//
// Run it:
//
//     ninja -C build/release example_own_router && build/release/examples/own_router
//
// The layer learns |x|. It prints the loss, where longer tokens go, and what a growth does:
//
//     step 0: loss 0.959
//     step 500: loss 0.042
//     100 times as long: 256 of 256 tokens go to the same expert
//     a fifth expert: directions [5, 4]
#include <fmt/core.h>

#include "models/moe.h"
#include "ops/binary.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "optim/adam.h"

using namespace offshoot;

namespace {

constexpr int64_t kFeatures = 4, kTokens = 256;

Tensor unit_rows(Tape& tape, const Tensor& x) {
  return div(tape, x, sqrt(tape, sum(tape, square(tape, x), /*axis=*/-1, /*keep=*/true)));
}

class CosineRouter final : public Router {
 public:
  CosineRouter(const Scope& scope, GrowthGroup& experts)
      : directions_((scope / "directions").name,
                    normal({experts.rows(), kFeatures}, scope.dtype, scope.random("directions"),
                           /*mean=*/0.0, /*deviation=*/1.0),
                    experts) {}

  Routed forward(Context& context, const Tensor& x, int64_t row_alignment) override {
    Tape& tape = context.tape;
    const Tensor rows = unit_rows(tape, x), directions = unit_rows(tape, tape.watch(directions_));
    Routed routed;
    routed.logits = scale(tape, matmul(tape, rows, directions, {.transpose_b = true}), 10.0);
    routed.probs = softmax(tape, routed.logits);
    routed.routing = route(tape, routed.probs, {.k = 1, .row_alignment = row_alignment});
    return routed;
  }
  void each_parameter(const ParameterVisitor& visit) override { visit(directions_); }

 private:
  Parameter directions_;  // [E, kFeatures]
};

}  // namespace

int main() {
  const MoeOptions options{.features = kFeatures, .hidden = 8, .experts = 4};
  MoeLayer moe(Scope{"moe"}, options, [](const Scope& scope, GrowthGroup& experts) {
    return std::make_unique<CosineRouter>(scope, experts);
  });
  AdamW optimizer({{parameters(moe)}});
  Tensor x;
  for (int64_t step = 0; step <= 500; ++step) {
    const Random random(/*seed=*/1, /*stream=*/step);
    x = normal({kTokens, kFeatures}, DType::f32, random, /*mean=*/0.0, /*deviation=*/1.0);
    Tape tape;
    Context context{tape, /*train=*/true};
    const Tensor loss = mean(tape, square(tape, sub(tape, moe.forward(context, x), abs(tape, x))));
    optimizer.zero_grad();
    tape.backward(loss);
    optimizer.step(/*rate=*/5e-3);
    if (step % 500 == 0) fmt::print("step {}: loss {:.3f}\n", step, loss.item());
  }

  Tape tape = Tape::none();  // records nothing
  Context context{tape};
  const auto routing = moe.router().forward(context, x, /*row_alignment=*/1).routing;
  const auto far = moe.router().forward(context, scale(tape, x, 100.0), 1).routing;
  int64_t same = 0;
  for (int64_t n = 0; n < kTokens; ++n) {
    const auto expert_of = [n](const Routing& r) { return r.expert_of_pair.data<int32_t>()[n]; };
    if (expert_of(routing) == expert_of(far)) ++same;
  }
  fmt::print("100 times as long: {} of {} tokens go to the same expert\n", same, kTokens);
  moe.group().duplicate(0);
  const Tensor directions = parameter(moe, "moe.gate.directions").value();
  fmt::print("a fifth expert: directions {}\n", to_string(directions.shape()));
}
