#include "ops/reduce.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

struct Named {
  const char* name;
  Tensor (*whole)(Tape&, const Tensor&);
  Tensor (*along)(Tape&, const Tensor&, int64_t, bool);
};
constexpr Named kOps[] = {{"sum", sum, sum}, {"mean", mean, mean}, {"max", max, max}};

// Random order, no two closer than 1e-3: a step of the check must not make another one the largest.
void fill_apart(size_t, const Tensor& input, Random& random) {
  const auto x = input.elements<double>();
  for (size_t i = 0; i < x.size(); ++i) {
    const auto other = static_cast<size_t>(random.below(static_cast<int64_t>(i) + 1));
    x[i] = x[other];
    x[other] = (static_cast<double>(i) + 0.5 * random.uniform()) * 2e-3 - 1;
  }
}

TEST(Reduce, GradientsMatchCentralDifferences) {
  for (const Named& op : kOps) {
    const auto whole = [&](Tape& tape, const std::vector<Tensor>& in) {
      return op.whole(tape, in[0]);
    };
    for (const Shape& shape : {Shape{}, {1}, {7, 13}, {5000}}) {
      EXPECT_LT(testing::gradient_error({"whole", {shape}, whole, fill_apart}), 1e-6)
          << op.name << to_string(shape);
    }
    for (const int64_t axis : {0, 1, 2, -1, -3}) {
      const auto along = [&](Tape& tape, const std::vector<Tensor>& in) {
        return op.along(tape, in[0], axis, axis == 1);
      };
      for (const Shape& shape : {Shape{3, 5, 7}, {1, 1, 1}, {3, 131, 67}}) {
        EXPECT_LT(testing::gradient_error({"axis", {shape}, along, fill_apart}), 1e-6)
            << op.name << axis << to_string(shape);
      }
    }
  }
}

TEST(Reduce, MatchesGoldenValues) {
  for (const Named& op : kOps) {
    testing::expect_matches_golden(
        op.name, [&](Tape& tape, const testing::GoldenCase& golden) -> Tensor {
          if (!golden.has("axis")) return op.whole(tape, golden["x"]);
          return op.along(tape, golden["x"], golden.integer("axis"), golden.flag("keepdim"));
        });
  }
  testing::expect_matches_golden("argmax", [](Tape&, const testing::GoldenCase& golden) {
    return argmax(golden["x"], golden.integer("axis"));
  });
}

TEST(Reduce, KeepsTheAxisWhenAsked) {
  Tape tape = Tape::none();
  const Tensor x = testing::random_tensor({3, 5, 7}, DType::f64, 1);
  EXPECT_EQ(sum(tape, x, 1).shape(), (Shape{3, 7}));
  EXPECT_EQ(sum(tape, x, 1, true).shape(), (Shape{3, 1, 7}));
  EXPECT_EQ(argmax(x, -1).shape(), (Shape{3, 5}));
}

TEST(Reduce, TheFirstOfEqualElementsWins) {
  const Tensor x = Tensor::from<double>({5}, {1, 4, 2, 4, 4});
  Tape tape;
  tape.watch(x);
  EXPECT_EQ(argmax(x, 0).item(), 1);
  tape.backward(max(tape, x));
  const Tensor dx = tape.grad(x);
  EXPECT_EQ(dx.data<double>()[1], 1);
  EXPECT_EQ(dx.data<double>()[3], 0);
}

TEST(Reduce, RepeatsForAnyNumberOfThreads) {
  const auto whole = [](Tape& tape, const std::vector<Tensor>& in) { return sum(tape, in[0]); };
  const auto rows = [](Tape& tape, const std::vector<Tensor>& in) { return mean(tape, in[0], 1); };
  EXPECT_TRUE(testing::repeats_for_any_thread_count({"whole", {{100003}}, whole}));
  EXPECT_TRUE(testing::repeats_for_any_thread_count({"rows", {{301, 301}}, rows}));
}

TEST(ReduceCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const auto expect_follows = [](const char* name, const Shape& shape, const auto& run) {
    const OpCase op_case{name, {shape}, run, fill_apart};
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << name << to_string(shape);
    EXPECT_LT(testing::cuda_bf16_error(op_case), 2e-2) << name << to_string(shape);
  };
  for (const Named& op : kOps) {
    for (const Shape& shape : {Shape{}, {1}, {7, 13}, {5000}, {20011}}) {
      expect_follows(op.name, shape, [&](Tape& tape, const std::vector<Tensor>& in) {
        return op.whole(tape, in[0]);
      });
    }
    for (const int64_t axis : {0, 1, -1}) {
      const auto along = [&](Tape& tape, const std::vector<Tensor>& in) {
        return op.along(tape, in[0], axis, axis == 1);
      };
      for (const Shape& shape : {Shape{3, 5, 7}, {1, 1, 1}, {3, 131, 67}, {2, 8, 16}}) {
        expect_follows(op.name, shape, along);
      }
    }
    // Several slices, of few and of many results.
    for (const Shape& shape : {Shape{4099, 3}, {1031, 65}, {3, 9001}}) {
      expect_follows(op.name, shape, [&](Tape& tape, const std::vector<Tensor>& in) {
        return op.along(tape, in[0], shape[0] > shape[1] ? 0 : 1, false);
      });
    }
  }
}

// More slices than a warp, and a block, has threads to join them.
TEST(ReduceCuda, ManySlicesAllCount) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Shape& shape : {Shape{1, 1200003}, {17000, 20}}) {
    const int64_t axis = shape[0] == 1 ? 1 : 0, count = shape[0] * shape[1];
    const Tensor x(shape, DType::f32);
    for (int64_t i = 0; i < count; ++i) x.data<float>()[i] = static_cast<float>(i % 3);
    x.data<float>()[count - 1] = 5.0f;
    Tape tape = Tape::none();
    const Tensor expected = sum(tape, x, axis), there = x.to(testing::kCuda);
    const Tensor got = sum(tape, there, axis).to(Device{});
    // Whole numbers below 2^24: exact in any order.
    for (int64_t i = 0; i < got.size(); ++i)
      EXPECT_EQ(got.data<float>()[i], expected.data<float>()[i]);
    const Tensor winners = argmax(there, axis).to(Device{});
    EXPECT_EQ(winners.data<int64_t>()[winners.size() - 1], shape[axis] - 1);
  }
}

TEST(ReduceCuda, TheFirstOfEqualElementsWins) {
  OFFSHOOT_NEEDS_CUDA();
  for (const int64_t columns : {5, 300, 20011}) {
    Tensor x = Tensor::full({2, columns}, DType::f32, -INFINITY);
    x.data<float>()[columns + columns / 3] = x.data<float>()[columns + columns / 2] = 1.0f;
    const Tensor there = x.to(testing::kCuda);
    const int64_t waits = device_waits();
    Tape tape;
    tape.watch(there);
    const Tensor largest = max(tape, there, 1);
    const Tensor indices = argmax(there, 1);
    tape.backward(largest, Tensor::full({2}, DType::f32, 2.0, testing::kCuda));
    const Tensor grad = tape.grad(there);
    EXPECT_EQ(device_waits(), waits);
    const Tensor winners = indices.to(Device{}), dx = grad.to(Device{});
    EXPECT_EQ(winners.data<int64_t>()[0], 0);
    EXPECT_EQ(winners.data<int64_t>()[1], columns / 3);
    EXPECT_EQ(dx.data<float>()[columns + columns / 3], 2.0f);
    EXPECT_EQ(dx.data<float>()[columns + columns / 2], 0.0f);
  }
}

TEST(ReduceCuda, NothingSumsToZero) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape = Tape::none();
  const Tensor none({0, 3}, DType::bf16, testing::kCuda);
  const Tensor sums = sum(tape, none, 0).to(Device{});
  EXPECT_EQ(sums.shape(), (Shape{3}));
  for (const bfloat16 value : sums.elements<bfloat16>()) EXPECT_EQ(to_float(value), 0.0f);
  EXPECT_EQ(sum(tape, none).item(), 0.0);
}

TEST(ReduceCuda, NaNLeavesIndicesInRange) {
  OFFSHOOT_NEEDS_CUDA();
  for (const int64_t count : {1, 33, 20011}) {
    const Tensor x = Tensor::full({count}, DType::f32, NAN, testing::kCuda);
    const double index = argmax(x, 0).item();
    EXPECT_GE(index, 0);
    EXPECT_LT(index, static_cast<double>(count));
  }
}

TEST(Reduce, NamesWhatIsWrong) {
  const auto message = [](auto&& f) {
    return testing::error_text([&] {
      Tape tape;
      f(tape);
    });
  };
  const Tensor none({0, 3}, DType::f32);
  EXPECT_EQ(message([&](Tape& tape) { mean(tape, none, 0); }),
            "[mean] x: got shape [0, 3], expected at least one element to reduce");
  EXPECT_EQ(message([&](Tape& tape) { max(tape, none); }),
            "[max] x: got shape [0, 3], expected at least one element to reduce");
  EXPECT_EQ(message([&](Tape& tape) { sum(tape, none, 2); }),
            "[sum] axis: got 2, expected -2..1 for shape [0, 3]");
  Tape tape;
  EXPECT_EQ(sum(tape, none, 0).shape(), (Shape{3}));
}

}  // namespace
}  // namespace offshoot
