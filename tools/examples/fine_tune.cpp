// Load a checkpoint and fine-tune a part of it.
//
// A model that has learned one task is saved. A second one loads it, freezes all of it but its last
// layer, and trains that for another task.
//
// - A model is a `Module`: it passes visitors on to its layers.
// - `load_checkpoint` gives pools the size that the file has: the second model is built with two
//   experts and has three after the load, with their ids and their log.
// - `set_trainable(false)` freezes a parameter: no gradient is computed for it, none is kept in
//   memory, and `decay_matrices_only`, which makes an optimizer's groups, leaves it out. Names are
//   chosen by pattern: `parameters(model, "*.moe.*")`. Freeze before the optimizer is built.
//
// Run it; it writes fine_tune.h5 into the current folder:
//
//     ninja -C build/release example_fine_tune && build/release/examples/fine_tune
//
// It prints
//
//     first task: loss 0.07, 3 experts
//     loaded: 3 experts, 5 of 7 parameters frozen
//     second task: loss 1.39 at first, 0.16 at last
//     a frozen parameter: not a bit has changed
#include <fmt/core.h>

#include <algorithm>

#include "engine/checkpoint.h"
#include "models/moe.h"
#include "ops/cross_entropy.h"
#include "optim/adam.h"

using namespace offshoot;

namespace {

struct Model final : Module {
  explicit Model(const Scope& scope)
      : moe(scope / "moe", {.features = 16, .hidden = 32, .experts = 2}),
        head(scope / "head", 16, 4) {}

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

// Learns the quadrants of the first two numbers, counted from `first`. Returns the last loss.
double train(Model& model, int32_t first, int64_t steps) {
  AdamW optimizer(decay_matrices_only(model, /*weight_decay=*/0.01));
  for (int64_t step = 1;; ++step) {
    const Random random(/*seed=*/1, /*stream=*/step);
    const Tensor x = normal({256, 16}, DType::f32, random, 0.0, 1.0);
    const Tensor labels({256}, DType::i32);
    for (int64_t n = 0; n < 256; ++n) {
      const float* row = x.data<float>() + 16 * n;
      labels.data<int32_t>()[n] = (first + (row[0] > 0 ? 2 : 0) + (row[1] > 0 ? 1 : 0)) % 4;
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
  Model first(Scope{"model"});
  train(first, 0, 100);
  first.moe.group().duplicate(0);
  const double loss = train(first, 0, 200);
  fmt::print("first task: loss {:.2f}, {} experts\n", loss, first.moe.experts());
  save_checkpoint("fine_tune.h5", {{300, 0}, "{}", provenance()}, first, {});

  Model model(Scope{"model"});
  load_checkpoint(CheckpointReader("fine_tune.h5"), model, {});
  const std::vector<Parameter*> frozen = parameters(model, "*.moe.*");
  for (Parameter* parameter : frozen) parameter->set_trainable(false);
  const Tensor fc1 = model.moe.fc1_weight().value().clone();
  for (Parameter* parameter : parameters(model, "*.head.*")) fill_zero(parameter->value());
  fmt::print("loaded: {} experts, {} of {} parameters frozen\n", model.moe.experts(), frozen.size(),
             parameters(model).size());
  fmt::print("second task: loss {:.2f} at first, ", train(model, 1, 1));
  fmt::print("{:.2f} at last\n", train(model, 1, 200));
  const bool same =
      std::ranges::equal(fc1.elements<float>(), model.moe.fc1_weight().value().elements<float>());
  fmt::print("a frozen parameter: {}\n", same ? "not a bit has changed" : "changed");
}
