// Some parameters of a checkpoint in another model.
#include "engine/partial_load.h"

#include <gtest/gtest.h>

#include "engine/checkpoint.h"
#include "tests/engine/file_test.h"

namespace offshoot {
namespace {

using Names = std::vector<std::string>;

// A body with a growing pool and a head, whose every element is `value`.
class Net final : public Module {
 public:
  Net(float value, int64_t experts, int64_t classes, const std::string& head = "head")
      : pool("body.moe", experts),
        embedding("body.embedding", filled({4, 3}, value)),
        fc1("body.moe.fc1", filled({experts, 3, 5}, value), pool),
        gate("body.moe.gate", filled({experts, 3}, value), pool),
        weight(head + ".weight", filled({classes, 3}, value)) {}

  void each_parameter(const ParameterVisitor& visit) override {
    for (Parameter* each : {&embedding, &fc1, &gate, &weight}) visit(*each);
  }
  void each_growth_group(const GroupVisitor& visit) override { visit(pool); }

  GrowthGroup pool;
  Parameter embedding, fc1, gate, weight;

 private:
  static Tensor filled(const Shape& shape, float value) {
    Tensor tensor(shape, DType::f32);
    std::ranges::fill(tensor.elements<float>(), value);
    return tensor;
  }
};

// Every element of the parameter is `value`.
bool is(const Parameter& parameter, float value) {
  const Tensor tensor = parameter.value();
  return std::ranges::all_of(tensor.elements<float>(), [&](float x) { return x == value; });
}

bool all(std::string_view) { return true; }
bool body(std::string_view name) { return name.starts_with("body."); }

class PartialLoadTest : public FileTest {
 protected:
  // Of a net of ones that has grown from 2 to 4 experts, and lost one.
  CheckpointReader grown(int64_t classes = 10) {
    Net net(1, 2, classes);
    net.pool.duplicate(0, {5, "mass", {}});
    net.pool.duplicate(1, {6, "mass", {}});
    net.pool.remove(0, {7, "user", {}});
    save_checkpoint(path("c.h5"), {{7, 1}, "{}", {}}, net, {});
    return CheckpointReader(path("c.h5"));
  }
};

TEST_F(PartialLoadTest, TakesAGrownBodyAndLeavesTheHead) {
  const CheckpointReader file = grown();
  Net net(2, 2, 3);
  net.fc1.gradient_slot();
  const LoadReport report = load_parameters(file, net, body);
  EXPECT_EQ(report.taken, (Names{"body.embedding", "body.moe.fc1", "body.moe.gate"}));
  EXPECT_EQ(report.missing, Names{});
  EXPECT_EQ(report.ignored, (Names{"head.weight"}));
  EXPECT_EQ(net.pool.ids(), (std::vector<int64_t>{3, 1, 2}));
  EXPECT_EQ(net.pool.log().size(), 3u);
  EXPECT_EQ(net.fc1.value().shape(), (Shape{3, 3, 5}));
  EXPECT_TRUE(is(net.embedding, 1) && is(net.fc1, 1) && is(net.gate, 1) && is(net.weight, 2));
  EXPECT_FALSE(net.fc1.has_grad());
}

TEST_F(PartialLoadTest, SaysWhatIsMissingOnEitherSide) {
  const CheckpointReader file = grown();
  Net net(2, 2, 3, "new_head");
  const LoadReport report = load_parameters(file, net, all);
  EXPECT_EQ(report.missing, (Names{"new_head.weight"}));
  EXPECT_EQ(to_string(report),
            "taken 3: body.embedding, body.moe.fc1, body.moe.gate\n"
            "missing 1: new_head.weight\n"
            "ignored 1: head.weight\n");
  EXPECT_TRUE(is(net.fc1, 1) && is(net.weight, 2));
}

TEST_F(PartialLoadTest, NothingWantedChangesNothing) {
  const CheckpointReader file = grown();
  Net net(2, 2, 3);
  const LoadReport report = load_parameters(file, net, [](std::string_view) { return false; });
  EXPECT_EQ(report.taken, Names{});
  EXPECT_EQ(report.ignored.size(), 4u);
  EXPECT_EQ(net.pool.rows(), 2);
  EXPECT_TRUE(is(net.embedding, 2) && is(net.fc1, 2));
}

// A pool cannot be half the file's.
TEST_F(PartialLoadTest, APartOfAPoolKeepsItsRows) {
  const CheckpointReader file = grown();
  const auto gate = [](std::string_view name) { return name == "body.moe.gate"; };
  Net two(2, 2, 3);
  const std::string error = error_of([&] { load_parameters(file, two, gate); });
  EXPECT_TRUE(contains(error, path("c.h5"))) << error;
  EXPECT_TRUE(contains(error, "model/body.moe.gate: got f32 [3, 3], expected f32 [2, 3]")) << error;
  Net three(2, 3, 3);
  load_parameters(file, three, gate);
  EXPECT_TRUE(is(three.gate, 1) && is(three.fc1, 2));
  EXPECT_EQ(three.pool.ids(), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_TRUE(three.pool.log().empty());
}

TEST_F(PartialLoadTest, AnotherShapeChangesNothing) {
  const CheckpointReader file = grown(10);
  Net net(2, 2, 3);
  const std::string error = error_of([&] { load_parameters(file, net, all); });
  EXPECT_TRUE(contains(error, "model/head.weight: got f32 [10, 3], expected f32 [3, 3]")) << error;
  EXPECT_EQ(net.pool.ids(), (std::vector<int64_t>{0, 1}));
  EXPECT_TRUE(net.pool.log().empty());
  EXPECT_TRUE(is(net.embedding, 2) && is(net.fc1, 2) && is(net.gate, 2));
}

// Moments in the pool's rows would be of other experts.
TEST_F(PartialLoadTest, RefusesRowsUnderAnOptimizer) {
  const CheckpointReader file = grown();
  Net net(2, 2, 3);
  const Parameter::Claim claim(net.gate);
  const std::string error = error_of([&] { load_parameters(file, net, body); });
  EXPECT_TRUE(contains(error, "body.moe.gate")) << error;
  EXPECT_TRUE(contains(error, "an optimizer steps it")) << error;
  EXPECT_EQ(net.pool.rows(), 2);
  EXPECT_TRUE(is(net.embedding, 2));
}

}  // namespace
}  // namespace offshoot
