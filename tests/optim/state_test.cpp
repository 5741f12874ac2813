// Optimizer state through a checkpoint, as README.md has it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/testing/gradcheck.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tests/engine/file_test.h"

namespace offshoot {
namespace {

struct Model : Module {
  GrowthGroup experts{"experts", 3};
  Parameter weight{"weight", testing::random_tensor({3, 5}, DType::f64, 1), experts};
  Parameter bias{"bias", testing::random_tensor({7}, DType::f64, 2)};
  void each_parameter(const ParameterVisitor& visit) override {
    visit(weight);
    visit(bias);
  }
  void each_growth_group(const GroupVisitor& visit) override { visit(experts); }
};

struct Training {
  Model model;
  AdamW optimizer{{{parameters(model), 1.0, 0.1}}};

  void step(uint64_t seed) {
    optimizer.zero_grad();
    for (Parameter* p : parameters(model)) {
      copy_elements(testing::random_tensor(p->value().shape(), DType::f64, seed),
                    p->gradient_slot().grad);
    }
    optimizer.step(0.01);
  }
  std::vector<CheckpointPart> parts() {
    return {{"optimizer", [this](State& state) { each_state(state, optimizer); }}};
  }
  std::vector<double> values() {
    std::vector<double> all;
    for (Parameter* p : parameters(model)) {
      const Tensor value = p->value();
      all.insert(all.end(), value.elements<double>().begin(), value.elements<double>().end());
    }
    return all;
  }
};

class OptimizerState : public FileTest {};

TEST_F(OptimizerState, GoesOnFromACheckpointOfAGrownModel) {
  Training first;
  first.step(3);
  first.model.experts.duplicate(1);
  first.step(4);
  first.model.experts.remove(0);
  first.step(5);
  save_checkpoint(path("a.h5"), {{3, 0}, "{}", provenance()}, first.model, first.parts());
  Training second;
  second.model.experts.duplicate(2);
  second.model.experts.duplicate(2);
  load_checkpoint(CheckpointReader(path("a.h5")), second.model, second.parts());
  EXPECT_EQ(second.values(), first.values());
  for (const uint64_t seed : {6, 7}) {
    first.step(seed);
    second.step(seed);
  }
  EXPECT_EQ(second.values(), first.values());
}

TEST_F(OptimizerState, OfAnotherOptimizerIsRefused) {
  Training run;
  run.step(1);
  save_checkpoint(path("a.h5"), {{1, 0}, "{}", provenance()}, run.model, run.parts());
  Model other;
  Sgd sgd({{parameters(other)}}, {0.9});
  const std::vector<CheckpointPart> parts{
      {"optimizer", [&](State& state) { each_state(state, sgd); }}};
  EXPECT_THROW(load_checkpoint(CheckpointReader(path("a.h5")), other, parts), Error);
}

}  // namespace
}  // namespace offshoot
