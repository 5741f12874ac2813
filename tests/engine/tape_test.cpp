#include "engine/tape.h"

#include <gtest/gtest.h>

#include "engine/testing/gradcheck.h"

namespace offshoot {
namespace {

// out = factor * x, the smallest operation there is.
Tensor scaled(Tape& tape, const Tensor& x, double factor) {
  Tensor out(x.shape(), DType::f64);
  for (int64_t i = 0; i < x.size(); ++i) out.data<double>()[i] = factor * x.data<double>()[i];
  tape.record("scaled", {x}, out, [x, factor](Tape& walk, const Tensor& dout) {
    const GradSlot slot = walk.slot(x);
    for (int64_t i = 0; i < x.size(); ++i) {
      accumulate(slot.grad.data<double>()[i], factor * dout.data<double>()[i], slot.overwrite);
    }
  });
  return out;
}

std::vector<double> values(const Tensor& tensor) {
  const auto elements = tensor.elements<double>();
  return {elements.begin(), elements.end()};
}

// The text of the error that `f` throws.
template <class F>
std::string message(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Tape, WalksBackThroughAChain) {
  const Tensor x = Tensor::from<double>({2}, {1.0, 2.0});
  Tape tape;
  tape.watch(x);
  const Tensor y = scaled(tape, scaled(tape, x, 2.0), 3.0);
  tape.backward(y, Tensor::from<double>({2}, {1.0, 10.0}));
  EXPECT_EQ(values(tape.grad(x)), (std::vector<double>{6.0, 60.0}));
}

TEST(Tape, ATensorUsedTwiceAddsBothContributions) {
  testing::poison_storage(true);
  const Tensor x = Tensor::from<double>({1}, {1.0});
  Tape tape;
  tape.watch(x);
  const Tensor a = scaled(tape, x, 2.0), b = scaled(tape, x, 5.0);
  Tensor sum = Tensor::full({1}, DType::f64, 7.0);
  tape.record("sum", {a, b}, sum, [a, b](Tape& walk, const Tensor& dout) {
    walk.give(a, dout.clone());
    walk.give(b, dout);
  });
  tape.backward(sum);
  EXPECT_EQ(values(tape.grad(x)), (std::vector<double>{7.0}));
}

TEST(Tape, ParameterGradientsOutliveTheTapeAndAccumulate) {
  Parameter parameter("w", Tensor::from<double>({2}, {1.0, 2.0}));
  for (const double factor : {2.0, 3.0}) {
    Tape tape;
    tape.backward(scaled(tape, tape.watch(parameter), factor), Tensor::full({2}, DType::f64, 1.0));
  }
  EXPECT_EQ(values(parameter.grad()), (std::vector<double>{5.0, 5.0}));
  parameter.zero_grad();
  EXPECT_FALSE(parameter.has_grad());
  EXPECT_EQ(values(parameter.grad()), (std::vector<double>{0.0, 0.0}));
}

TEST(Tape, WhatIsNotTrainableGetsNoGradient) {
  Parameter frozen("w", Tensor::from<double>({1}, {2.0}));
  frozen.set_trainable(false);
  Tape tape;
  const Tensor x = Tensor::from<double>({1}, {1.0});
  tape.watch(x);
  const Tensor y = scaled(tape, tape.watch(frozen), 2.0);
  EXPECT_FALSE(tape.wants(y));
  EXPECT_THROW(frozen.grad(), Error);
  EXPECT_EQ(message([&] { tape.backward(y); }),
            "[tape] backward: the output was not computed from a watched tensor");
}

TEST(Tape, ASecondBackwardIsAnError) {
  const Tensor x = Tensor::from<double>({1}, {1.0});
  Tape tape;
  tape.watch(x);
  const Tensor y = scaled(tape, x, 2.0);
  tape.backward(y);
  EXPECT_THROW(tape.backward(y), Error);
  EXPECT_THROW(scaled(tape, x, 2.0), Error);
}

TEST(Tape, RefusesAnOutputItKnowsAlready) {
  const Tensor x = Tensor::from<double>({1}, {1.0});
  Tape tape;
  tape.watch(x);
  tape.watch(x);  // the same leaf twice is fine
  EXPECT_EQ(message([&] { tape.record("same", {x}, x, [](Tape&, const Tensor&) {}); }),
            "[same] output: got a tensor that this tape knows already, expected a new one");
  const Tensor y = scaled(tape, x, 2.0);
  EXPECT_EQ(message([&] { tape.watch(y); }),
            "[tape] watch: got the output of an operation of this tape, expected a leaf");
}

TEST(Tape, WhatIsFrozenBeforeTheWalkGetsNothing) {
  Parameter parameter("w", Tensor::from<double>({1}, {2.0}));
  Tape tape;
  const Tensor& w = tape.watch(parameter);
  const Tensor y = w.clone();
  tape.record("copy", {w}, y, [w](Tape& walk, const Tensor& dout) { walk.give(w, dout); });
  parameter.set_trainable(false);
  EXPECT_NO_THROW(tape.backward(y));
}

TEST(Tape, OneOpenedBeforeAGrowthDoesNotRunAfterIt) {
  GrowthGroup group("experts", 2);
  Parameter weight("w", Tensor::from<double>({2, 1}, {1.0, 2.0}), group);
  Tape tape;
  const Tensor y = scaled(tape, tape.watch(weight), 2.0);
  group.duplicate(0);
  EXPECT_EQ(message([&] {
              tape.backward(y, Tensor::full({2, 1}, DType::f64, 1.0));
            }),
            "[tape] backward: w has grown since this tape was opened, expected a new tape");
}

TEST(Tape, InferenceRecordsNothing) {
  Tape tape = Tape::none();
  Parameter parameter("w", Tensor::from<double>({1}, {2.0}));
  const Tensor y = scaled(tape, tape.watch(parameter), 2.0);
  EXPECT_FALSE(tape.wants(y));
}

TEST(Tape, OutputsThatDidNotLeadToTheResultHaveNoGradient) {
  const Tensor x = Tensor::from<double>({1}, {1.0});
  Tape tape;
  tape.watch(x);
  const Tensor a = Tensor::from<double>({1}, {1.0}), b = Tensor::from<double>({1}, {2.0});
  tape.record_many("split", {x}, {a, b}, [x](Tape& walk, std::span<const Tensor> douts) {
    EXPECT_TRUE(douts[0].defined());
    EXPECT_FALSE(douts[1].defined());
    walk.give(x, douts[0]);
  });
  tape.backward(scaled(tape, a, 4.0));
  EXPECT_EQ(values(tape.grad(x)), (std::vector<double>{4.0}));
}

TEST(Gradcheck, FindsAWrongFactorAndAMissingAddition) {
  const auto wrong_factor = [](Tape& tape, const std::vector<Tensor>& in) {
    const Tensor out = in[0].clone();
    tape.record("wrong", {in[0]}, out, [x = in[0]](Tape& walk, const Tensor& dout) {
      const GradSlot slot = walk.slot(x);
      for (int64_t i = 0; i < x.size(); ++i) {
        accumulate(slot.grad.data<double>()[i], 1.001 * dout.data<double>()[i], slot.overwrite);
      }
    });
    return out;
  };
  const auto overwrites = [](Tape& tape, const std::vector<Tensor>& in) {
    const Tensor out = in[0].clone();
    tape.record("wrong", {in[0]}, out, [x = in[0]](Tape& walk, const Tensor& dout) {
      copy_elements(dout, walk.slot(x).grad);
    });
    return out;
  };
  const auto right = [](Tape& tape, const std::vector<Tensor>& in) {
    return scaled(tape, in[0], 3.0);
  };
  for (const Shape& shape : {Shape{3, 5}, Shape{17, 23}}) {
    EXPECT_GT(testing::gradient_error({"wrong_factor", {shape}, wrong_factor}), 1e-4);
    EXPECT_GT(testing::gradient_error({"overwrites", {shape}, overwrites}), 1e-4);
    EXPECT_LT(testing::gradient_error({"right", {shape}, right}), 1e-6);
  }
}

}  // namespace
}  // namespace offshoot
