// A router of your own.
//
// `MoeLayer` takes any `Router`: a module that scores every token against every expert and hands
// its scores to `route`, which picks. This one scores by distance: every expert has a centre, and a
// token goes to the expert whose centre is nearest. What it compares is
//
//     -|x - c|^2 = 2 x c - |c|^2 - |x|^2
//
// whose last term is the same for all experts, so softmax does not see it.
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
// The layer learns |x|. It prints the loss, where tokens at the centres go, and what a growth does:
//
//     step 0: loss 0.914
//     step 500: loss 0.018
//     tokens at the centres: 4 of 4 go to their expert
//     a fifth expert: centres [5, 4]
#include <fmt/core.h>

#include "models/moe.h"
#include "ops/binary.h"
#include "ops/linear.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "optim/adam.h"

using namespace offshoot;

namespace {

constexpr int64_t kFeatures = 4, kTokens = 256;

class NearestRouter final : public Router {
 public:
  NearestRouter(const Scope& scope, GrowthGroup& experts)
      : centres_((scope / "centres").name,
                 normal({experts.rows(), kFeatures}, scope.dtype, scope.random("centres"),
                        /*mean=*/0.0, /*deviation=*/1.0),
                 experts) {}

  Routed forward(Context& context, const Tensor& x, int64_t row_alignment) override {
    Tape& tape = context.tape;
    const Tensor& c = tape.watch(centres_);
    const Tensor lengths = sum(tape, square(tape, c), /*axis=*/-1);
    Routed routed;
    routed.logits = linear(tape, x, scale(tape, c, 2.0), neg(tape, lengths));
    routed.probs = softmax(tape, routed.logits);
    routed.routing = route(tape, routed.probs, {.k = 1, .row_alignment = row_alignment});
    return routed;
  }
  void each_parameter(const ParameterVisitor& visit) override { visit(centres_); }

 private:
  Parameter centres_;  // [E, kFeatures]
};

}  // namespace

int main() {
  const MoeOptions options{.features = kFeatures, .hidden = 8, .experts = 4};
  MoeLayer moe(Scope{"moe"}, options, [](const Scope& scope, GrowthGroup& experts) {
    return std::make_unique<NearestRouter>(scope, experts);
  });
  AdamW optimizer({{parameters(moe)}});
  for (int64_t step = 0; step <= 500; ++step) {
    const Random random(/*seed=*/1, /*stream=*/step);
    const Tensor x =
        normal({kTokens, kFeatures}, DType::f32, random, /*mean=*/0.0, /*deviation=*/1.0);
    Tape tape;
    Context context{tape, /*train=*/true};
    const Tensor loss = mean(tape, square(tape, sub(tape, moe.forward(context, x), abs(tape, x))));
    optimizer.zero_grad();
    tape.backward(loss);
    optimizer.step(/*rate=*/5e-3);
    if (step % 500 == 0) fmt::print("step {}: loss {:.3f}\n", step, loss.item());
  }

  const Tensor centres = parameter(moe, "moe.gate.centres").value();
  Tape tape = Tape::none();  // records nothing
  Context context{tape};
  const auto routing = moe.router().forward(context, centres, /*row_alignment=*/1).routing;
  int64_t home = 0;
  for (int64_t e = 0; e < moe.experts(); ++e) {
    if (routing.expert_of_pair.data<int32_t>()[e] == e) ++home;
  }
  fmt::print("tokens at the centres: {} of {} go to their expert\n", home, moe.experts());
  moe.group().duplicate(0);
  const Tensor grown = parameter(moe, "moe.gate.centres").value();
  fmt::print("a fifth expert: centres {}\n", to_string(grown.shape()));
}
