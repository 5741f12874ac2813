// Train, and grow by hand.
//
// A mixture of experts learns y = sin(3 x). Each expert has two hidden units, enough for a wave or
// less. After 400 steps each of the two experts is duplicated, and the loss falls further than
// without.
//
// - A `Scope` names a module and seeds its first values; `MoeLayer` is the mixture of experts.
// - A step: open a `Tape`, compute, call `backward`, let the optimizer `step`.
// - `group().duplicate(row)` between backward and step is all that growing takes. Weights,
//   gradients, AdamW's moments and the gate get their new row together, or none of them does.
// - `group().log()` keeps who came from whom, when and why.
//
// The copy starts with its parent's weights. What sets the two apart is `set_gradient_split`: with
// `project_rows` the parent takes this step with the part of its gradient that points along its
// weights, the copy with all of it.
//
// Run it:
//
//     ninja -C build/release example_train_and_grow && build/release/examples/train_and_grow
//
// It prints the loss, without growth and with it, and where the experts came from:
//
//     without growth: loss 0.299 after 400 steps, 0.235 after 1000, 2 experts
//     with growth: loss 0.299 after 400 steps, 0.118 after 1000, 4 experts
//     expert 2 came from expert 0 in step 400, by hand
//     expert 3 came from expert 1 in step 400, by hand
#include <fmt/core.h>

#include <cmath>

#include "models/moe.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/unary.h"
#include "optim/adam.h"

using namespace offshoot;

namespace {

void train(bool grow) {
  MoeOptions options{.features = 1, .hidden = 2, .experts = 2, .gate_bias = true};
  options.route = {.kind = RouteOptions::Kind::top_k, .k = 1};
  MoeLayer moe(Scope{"moe"}, options);
  moe.fc1_weight().set_gradient_split(GradientSplit::project_rows);
  moe.fc2_weight().set_gradient_split(GradientSplit::project_rows);
  AdamW optimizer({{parameters(moe)}});

  double sum = 0;  // of the last 100 losses
  fmt::print("{} growth:", grow ? "with" : "without");
  for (int64_t step = 0; step < 1000; ++step) {
    const Random random(/*seed=*/1, /*stream=*/step);
    const Tensor x = normal({256, 1}, DType::f32, random, /*mean=*/0.0, /*deviation=*/1.0);
    const Tensor target = x.clone();
    for (float& y : target.elements<float>()) y = std::sin(3 * y);

    Tape tape;
    Context context{tape, /*train=*/true};
    const Tensor error = sub(tape, moe.forward(context, x), target);
    const Tensor loss = mean(tape, square(tape, error));
    optimizer.zero_grad();
    tape.backward(loss);
    if (grow && step == 400) {
      for (const int64_t row : {0, 1}) moe.group().duplicate(row, {step, "by hand"});
    }
    optimizer.step(/*rate=*/5e-3);

    sum += loss.item();
    if (step % 100 != 99) continue;
    if (step == 399) fmt::print(" loss {:.3f} after 400 steps,", sum / 100);
    if (step == 999) fmt::print(" {:.3f} after 1000, {} experts\n", sum / 100, moe.experts());
    sum = 0;
  }
  for (const Edit& edit : moe.group().log()) {
    fmt::print("expert {} came from expert {} in step {}, {}\n", edit.new_id, edit.source_id,
               edit.note.step, edit.note.policy);
  }
}

}  // namespace

int main() {
  train(/*grow=*/false);
  train(/*grow=*/true);
}
