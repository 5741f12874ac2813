// Optimizer state through a checkpoint, as README.md has it.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/testing/gradcheck.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tests/engine/file_test.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

struct Model : Module {
  explicit Model(DType dtype = DType::f64, Device device = {})
      : weight("weight", testing::random_tensor({3, 5}, dtype, 1).to(device), experts),
        bias("bias", testing::random_tensor({7}, dtype, 2).to(device)) {}

  GrowthGroup experts{"experts", 3};
  Parameter weight, bias;
  void each_parameter(const ParameterVisitor& visit) override {
    visit(weight);
    visit(bias);
  }
  void each_growth_group(const GroupVisitor& visit) override { visit(experts); }
};

struct Training {
  explicit Training(DType dtype = DType::f64, Device device = {}) : model(dtype, device) {}

  Model model;
  AdamW optimizer{{{parameters(model), 1.0, 0.1}}};

  void step(uint64_t seed) {
    optimizer.zero_grad();
    for (Parameter* p : parameters(model)) {
      copy_elements(testing::random_tensor(p->value().shape(), p->dtype(), seed),
                    p->gradient_slot().grad);
    }
    optimizer.step(0.01);
  }
  std::vector<CheckpointPart> parts() {
    return {{"optimizer", [this](State& state) { each_state(state, optimizer); }}};
  }
  template <class T = double>
  std::vector<T> values() {
    std::vector<T> all;
    for (Parameter* p : parameters(model)) {
      const Tensor value = p->value().to(Device{});
      all.insert(all.end(), value.elements<T>().begin(), value.elements<T>().end());
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

using OptimizerStateCuda = OptimizerState;

// All of the optimizer's numbers, byte for byte.
std::map<std::string, std::vector<std::byte>> state_of(const Training& training) {
  std::map<std::string, std::vector<std::byte>> all;
  training.optimizer.each_state([&](const std::string& name, const Tensor& state) {
    const Tensor host = state.to(Device{});
    all[name] = {host.raw(), host.raw() + host.bytes()};
  });
  return all;
}

TEST_F(OptimizerStateCuda, SavedOnOneDeviceGoesOnOnTheOther) {
  OFFSHOOT_NEEDS_CUDA();
  for (const auto& [from, to] :
       {std::pair(testing::kCuda, Device{}), std::pair(Device{}, testing::kCuda),
        std::pair(testing::kCuda, testing::kCuda)}) {
    SCOPED_TRACE(to_string(from) + " to " + to_string(to));
    Training first(DType::f32, from);
    first.step(3);
    first.model.experts.duplicate(1);
    first.step(4);
    first.model.experts.remove(0);
    first.model.experts.duplicate(0);
    first.step(5);
    const std::string file = path(to_string(from) + " " + to_string(to) + ".h5");
    save_checkpoint(file, {{3, 0}, "{}", provenance()}, first.model, first.parts());

    Training second(DType::f32, to);
    load_checkpoint(CheckpointReader(file), second.model, second.parts());
    EXPECT_EQ(second.model.weight.value().device(), to);
    EXPECT_EQ(second.values<float>(), first.values<float>());
    EXPECT_EQ(state_of(second), state_of(first));
    EXPECT_EQ(second.model.experts.ids(), first.model.experts.ids());
    for (const uint64_t seed : {6, 7}) {
      first.step(seed);
      second.step(seed);
      const auto got = second.values<float>(), expected = first.values<float>();
      ASSERT_EQ(got.size(), expected.size());
      for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6);
    }
    EXPECT_EQ(second.model.experts.duplicate(1), first.model.experts.duplicate(1));
  }
}

}  // namespace
}  // namespace offshoot
