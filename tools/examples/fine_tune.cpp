// Load a checkpoint and fine-tune a part of it.
//
// A model of four classes is saved. One of two classes takes all but the head from the file,
// freezes what it took, and trains a head of its own.
//
// - A model is a `Module`: it passes visitors on to its layers.
// - `load_parameters` takes what it is asked for and says what it took, what the file lacks and
//   what it left. Pools get the file's size: the second model is built with two experts and has
//   three after the load. `load_checkpoint` would take all, or nothing.
// - `set_trainable(false)` freezes a parameter: no gradient is computed for it, none is kept in
//   memory, and `decay_matrices_only`, which makes an optimizer's groups, leaves it out. Names are
//   chosen by pattern: `parameters(model, "*.moe.*")`. Freeze before the optimizer is built.
//
// Run it, in a folder for its fine_tune.h5; it prints what follows:
//
//     ninja -C build/release example_fine_tune && build/release/examples/fine_tune
//
//     four classes: loss 0.07, 3 experts
//     taken 5: model.moe.fc1.weight, ...
//     missing 0
//     ignored 2: model.head.bias, model.head.weight
//     two classes: loss 0.58 at first, 0.07 at last, 3 experts
//     a frozen parameter: not a bit has changed
#include <fmt/core.h>

#include <algorithm>

#include "engine/checkpoint.h"
#include "engine/partial_load.h"
#include "models/moe.h"
#include "ops/cross_entropy.h"
#include "optim/adam.h"

using namespace offshoot;

namespace {

struct Model final : Module {
  Model(const Scope& scope, int64_t classes)
      : moe(scope / "moe", {.features = 16, .hidden = 32, .experts = 2}),
        head(scope / "head", 16, classes) {}

  Tensor forward(Context& context, const Tensor& x) {
    return head.forward(context, moe.forward(context, x));
  }
  void each_parameter(const ParameterVisitor& visit) override {
    moe.each_parameter(visit);
    head.each_parameter(visit);
  }
  void each_growth_group(const GroupVisitor& visit) override { moe.each_growth_group(visit); }

  MoeLayer moe;
  Linear head;
};

// Learns the quadrant of the first two numbers, modulo `classes`. Returns the last loss.
double train(Model& model, int32_t classes, int64_t steps) {
  AdamW optimizer(decay_matrices_only(model, /*weight_decay=*/0.01));
  for (int64_t step = 1;; ++step) {
    const Random random(/*seed=*/1, /*stream=*/step);
    const Tensor x = normal({256, 16}, DType::f32, random, 0.0, 1.0);
    const Tensor labels({256}, DType::i32);
    for (int64_t n = 0; n < 256; ++n) {
      const float* row = x.data<float>() + 16 * n;
      labels.data<int32_t>()[n] = ((row[0] > 0 ? 2 : 0) + (row[1] > 0 ? 1 : 0)) % classes;
    }
    Tape tape;
    Context context{tape, /*train=*/true};
    const Tensor loss = cross_entropy(tape, model.forward(context, x), labels);
    optimizer.zero_grad();
    tape.backward(loss);
    optimizer.step(/*rate=*/3e-3);
    if (step == steps) return loss.item();
  }
}

}  // namespace

int main() {
  Model first(Scope{"model"}, 4);
  train(first, 4, 100);
  first.moe.group().duplicate(0);
  const double loss = train(first, 4, 200);
  fmt::print("four classes: loss {:.2f}, {} experts\n", loss, first.moe.experts());
  save_checkpoint("fine_tune.h5", {{300, 0}, "{}", provenance()}, first, {});

  Model model(Scope{"model"}, 2);
  const LoadReport report =
      load_parameters(CheckpointReader("fine_tune.h5"), model,
                      [](std::string_view name) { return matches(name, "*.moe.*"); });
  fmt::print("{}", to_string(report));
  for (Parameter* parameter : parameters(model, "*.moe.*")) parameter->set_trainable(false);
  const Tensor fc1 = model.moe.fc1_weight().value().clone();
  fmt::print("two classes: loss {:.2f} at first, ", train(model, 2, 1));
  fmt::print("{:.2f} at last, {} experts\n", train(model, 2, 200), model.moe.experts());
  const bool same =
      std::ranges::equal(fc1.elements<float>(), model.moe.fc1_weight().value().elements<float>());
  fmt::print("a frozen parameter: {}\n", same ? "not a bit has changed" : "changed");
}
