// Learn new classes without losing the old ones.
//
// Four classes are learned; then four others come, and of the first two examples each are left. A
// network that just goes on forgets the first; with these few it remembers half. Here the pool
// grows as well, and what was there before is held.
//
// - `duplicate` makes experts for the new classes, `append` rows of the output layer: a
//   `GrowthGroup` is for anything that has rows.
// - To hold rows, zero their gradients before the step: an optimizer built anew lets them be.
//
// Run it; it prints what is known in the end:
//
//     ninja -C build/release example_new_classes && build/release/examples/new_classes
//     going on: 2 experts, accuracy on old classes 0%, on new ones 99%
//     with examples: 2 experts, accuracy on old classes 59%, on new ones 95%
//     and growing: 4 experts, accuracy on old classes 81%, on new ones 96%
#include <fmt/core.h>

#include "models/moe.h"
#include "ops/cross_entropy.h"
#include "ops/linear.h"
#include "ops/reduce.h"
#include "optim/adam.h"

using namespace offshoot;

namespace {

constexpr int64_t kFeatures = 16, kOld = 4, kNew = 4;  // classes

struct Model {
  MoeLayer moe{Scope{"moe"}, {.features = kFeatures, .hidden = 4, .experts = 2}};
  GrowthGroup classes{"classes", kOld};
  Parameter head{"head.weight", Tensor::zeros({kOld, kFeatures}, DType::f32), classes};

  Tensor forward(Tape& tape, const Tensor& x) {
    Context context{tape};
    return linear(tape, moe.forward(context, x), tape.watch(head));
  }
};

// Examples of four classes in turn: a class is a direction, either way, and noise.
std::pair<Tensor, Tensor> draw(int64_t first_class, int64_t count, uint64_t stream) {
  const Tensor directions = normal({kOld + kNew, kFeatures}, DType::f32, Random(2, 0), 0.0, 1.0);
  const Tensor x = normal({count, kFeatures}, DType::f32, Random(1, stream), 0.0, 0.7);
  const Tensor labels({count}, DType::i32);
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t n = i / kFeatures, label = first_class + n % 4;
    const float part = directions.data<float>()[label * kFeatures + i % kFeatures];
    x.data<float>()[i] += n / 4 % 2 == 0 ? part : -part;
    labels.data<int32_t>()[n] = static_cast<int32_t>(label);
  }
  return {x, labels};
}

int64_t accuracy(Model& model, int64_t first_class) {
  const auto [x, labels] = draw(first_class, 256, 1001);
  Tape tape = Tape::none();
  const Tensor best = argmax(model.forward(tape, x), /*axis=*/-1);
  int64_t right = 0;
  for (int64_t n = 0; n < best.size(); ++n) {
    right += best.data<int64_t>()[n] == labels.data<int32_t>()[n];
  }
  return 100 * right / best.size();
}

// `examples`: with a few of the first classes. `hold`: with the first rows of all that grows held.
void train(Model& model, int64_t first_class, bool examples, bool hold) {
  AdamW optimizer({{parameters(model.moe)}, {{&model.head}}});
  for (uint64_t step = 0; step < 300; ++step) {
    optimizer.zero_grad();
    for (int part = 0; part < (examples ? 2 : 1); ++part) {
      const auto [x, labels] = part == 0 ? draw(first_class, 128, step) : draw(0, 8, 1000);
      Tape tape;
      tape.backward(cross_entropy(tape, model.forward(tape, x), labels));
    }
    for (Parameter* p : parameters(model.moe)) fill_zero(p->grad().rows(0, hold ? 2 : 0));
    fill_zero(model.head.grad().rows(0, hold ? kOld : 0));
    optimizer.step(/*rate=*/3e-3);
  }
}

void run(const char* name, bool examples, bool grow) {
  Model model;
  train(model, 0, false, false);
  model.classes.append(kNew, /*init=*/{});
  for (int64_t row = 0; grow && row < 2; ++row) model.moe.group().duplicate(row);
  train(model, kOld, examples, grow);
  fmt::print("{}: {} experts, accuracy on old classes {}%, on new ones {}%\n", name,
             model.moe.experts(), accuracy(model, 0), accuracy(model, kOld));
}

}  // namespace

int main() {
  run("going on", /*examples=*/false, /*grow=*/false);
  run("with examples", true, false);
  run("and growing", true, true);
}
