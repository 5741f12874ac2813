#include "ops/unary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/activation.h"
#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

struct Named {
  const char* name;
  const char* golden;
  Tensor (*op)(Tape&, const Tensor&);
  double low;  // inputs are at least this
};

Tensor halved(Tape& tape, const Tensor& x) { return scale(tape, x, -0.375); }
Tensor clamped(Tape& tape, const Tensor& x) { return clamp(tape, x, -0.5, 0.75); }

constexpr Named kOps[] = {
    {"neg", "neg", neg, -3},
    {"scale", "scale", halved, -3},
    {"exp", "exp", exp, -3},
    {"log", "log", log, 0.2},
    {"sqrt", "sqrt", sqrt, 0.2},
    {"square", "square", square, -3},
    {"abs", "abs", abs, -3},
    {"clamp", "clamp", clamped, -3},
    {"relu", "relu", relu, -3},
    {"gelu", "gelu_erf", gelu, -3},
    {"gelu_tanh", "gelu_tanh", gelu_tanh, -3},
    {"silu", "silu", silu, -3},
    {"tanh", "tanh", tanh, -3},
    {"sigmoid", "sigmoid", sigmoid, -3},
};

// In [low, 3], and 1e-3 away from the kinks at -0.5, 0 and 0.75.
OpCase case_of(const Named& named, const char* name, const Shape& shape) {
  const auto run = [op = named.op](Tape& tape, const std::vector<Tensor>& in) {
    return op(tape, in[0]);
  };
  const auto fill = [low = named.low](size_t, const Tensor& input, Random& random) {
    for (double& value : input.elements<double>()) {
      value = low + (3 - low) * random.uniform();
      for (const double kink : {-0.5, 0.0, 0.75}) {
        if (std::abs(value - kink) < 2e-3) value = kink + 2e-3;
      }
    }
  };
  return {name, {shape}, run, fill};
}

TEST(Unary, GradientsMatchCentralDifferences) {
  for (const Named& op : kOps) {
    EXPECT_LT(testing::gradient_error(case_of(op, "scalar", {})), 1e-6) << op.name;
    EXPECT_LT(testing::gradient_error(case_of(op, "prime", {7, 13})), 1e-6) << op.name;
    EXPECT_LT(testing::gradient_error(case_of(op, "longer_than_a_range", {17001})), 1e-6)
        << op.name;
  }
}

TEST(Unary, MatchesGoldenValues) {
  for (const Named& op : kOps) {
    testing::expect_matches_golden(
        op.golden, [&](Tape& tape, const testing::GoldenCase& golden) -> Tensor {
          if (op.op == halved) return scale(tape, golden["x"], golden.number("factor"));
          if (op.op == clamped) {
            return clamp(tape, golden["x"], golden.number("low"), golden.number("high"));
          }
          return op.op(tape, golden["x"]);
        });
  }
}

TEST(Unary, SinglePrecisionFollowsDoubleAndRepeats) {
  for (const Named& op : kOps) {
    if (op.low > 0) continue;  // the checks below draw normal numbers
    const auto run = [&](Tape& tape, const std::vector<Tensor>& in) { return op.op(tape, in[0]); };
    EXPECT_TRUE(testing::repeats_for_any_thread_count({"long", {{50001}}, run})) << op.name;
    EXPECT_LT(testing::single_precision_error({"long", {{50001}}, run}), 1e-5) << op.name;
  }
}

TEST(UnaryCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Named& op : kOps) {
    for (const Shape& shape : {Shape{}, {0, 3}, {7, 13}, {8}, {2056}, {3, 1021}}) {
      const OpCase op_case = case_of(op, op.name, shape);
      EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op.name << to_string(shape);
      EXPECT_LT(testing::cuda_bf16_error(op_case), 2e-2) << op.name << to_string(shape);
    }
  }
}

TEST(UnaryCuda, FarFromZeroNothingOverflows) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor x = Tensor::from<float>({6}, {-1e30f, -200.0f, -11.0f, 11.0f, 200.0f, 1e30f});
  for (const auto op : {gelu, gelu_tanh, silu, tanh, sigmoid}) {
    const auto results = [&](Device device) {
      const Tensor there = x.to(device);
      Tape tape;
      tape.watch(there);
      const Tensor out = op(tape, there);
      tape.backward(out, Tensor::full({6}, DType::f32, 1.0, device));
      return std::pair(out.to(Device{}), tape.grad(there).to(Device{}));
    };
    const auto got = results(testing::kCuda), expected = results({});
    EXPECT_LT(testing::relative_error(got.first, expected.first), 1e-5);
    EXPECT_LT(testing::relative_error(got.second, expected.second), 1e-5);
  }
}

TEST(UnaryCuda, PartsOfAStorageNeedNotBeAligned) {
  OFFSHOOT_NEEDS_CUDA();
  const auto last_rows = [](Tape& tape, const Tensor& x) {
    return square(tape, x.rows(1, x.dim(0) - 1));
  };
  const Tensor x = testing::random_tensor({9, 1}, DType::f32, 1);
  Tape tape = Tape::none();
  const Tensor got = last_rows(tape, x.to(testing::kCuda)).to(Device{});
  EXPECT_EQ(testing::relative_error(got, last_rows(tape, x)), 0.0);
}

TEST(Unary, NamesWhatIsWrong) {
  const auto message = [](auto&& f) {
    return testing::error_text([&] {
      Tape tape;
      f(tape, Tensor({2}, DType::f32));
    });
  };
  EXPECT_EQ(message([](Tape& tape, const Tensor& x) { scale(tape, x, NAN); }),
            "[scale] factor: got nan, expected a finite number");
  EXPECT_EQ(message([](Tape& tape, const Tensor& x) { clamp(tape, x, 2, 1); }),
            "[clamp] bounds: got [2, 1], expected low <= high");
  EXPECT_EQ(message([](Tape& tape, const Tensor&) { relu(tape, Tensor({2}, DType::i32)); }),
            "[relu] x: got i32, expected f32 or f64");
}

}  // namespace
}  // namespace offshoot
