// consumer <file>: a small use of every storey. Trains, grows, saves to the file and loads it
// again.
#include <fmt/core.h>

#include "engine/checkpoint.h"
#include "mass/controller.h"
#include "models/moe.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/unary.h"
#include "optim/adam.h"

using namespace offshoot;

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const MoeOptions options{.features = 8, .hidden = 16, .experts = 4};
  MoeLayer moe(Scope{"moe"}, options);
  const MassController controller({&moe}, mass_options(MassPreset::paper, 100));
  AdamW optimizer({{parameters(moe)}});
  double first = 0, last = 0;
  for (int64_t step = 0; step < 100; ++step) {
    const Random random(1, step);
    const Tensor x = normal({64, 8}, DType::f32, random, 0.0, 1.0);
    Tape tape;
    Context context{tape, true};
    const Tensor loss = mean(tape, square(tape, sub(tape, moe.forward(context, x), x)));
    optimizer.zero_grad();
    tape.backward(loss);
    if (step == 50) moe.group().duplicate(0, {step, "by hand"});
    optimizer.step(1e-2);
    (step == 0 ? first : last) = loss.item();
  }
  if (last > 0.7 * first) return 1;

  save_checkpoint(argv[1], {{100, 1}, "{}", provenance()}, moe, {});
  MoeLayer again(Scope{"moe"}, options);
  load_checkpoint(CheckpointReader(argv[1]), again, {});
  if (again.experts() != 5 || again.group().ids() != moe.group().ids()) return 1;
  fmt::print("{} experts, the loss fell, the checkpoint is read back\n", again.experts());
}
