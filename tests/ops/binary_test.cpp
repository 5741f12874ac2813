#include "ops/binary.h"

#include <gtest/gtest.h>

#include "ops/where.h"
#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

using Binary = Tensor (*)(Tape&, const Tensor&, const Tensor&);
struct Named {
  const char* name;
  Binary op;
};
constexpr Named kOps[] = {
    {"add", add}, {"sub", sub}, {"mul", mul}, {"div", div}, {"maximum", maximum}};

// Keeps quotients finite and maxima unequal: b is in [0.6, 1.4] or, for a, away from that.
void fill(size_t index, const Tensor& input, Random& random) {
  for (double& value : input.elements<double>()) {
    const double sign = random.uniform() < 0.5 ? -1.0 : 1.0;
    value = index == 0 ? sign * (1.5 + random.uniform()) : 0.6 + 0.8 * random.uniform();
  }
}

struct Shapes {
  const char* name;
  Shape a, b;
};

const Shapes kShapes[] = {{"one", {1}, {1}},
                          {"scalars", {}, {}},
                          {"same", {7, 13}, {7, 13}},
                          {"row", {3, 5, 7}, {7}},
                          {"matrix_over_batch", {3, 5, 7}, {5, 7}},
                          {"column", {5, 7}, {5, 1}},
                          {"both_ways", {5, 1, 3}, {4, 1}},
                          {"lower_rank_first", {3}, {2, 3}},
                          {"inner_one", {2, 3, 1}, {2, 3, 5}},
                          {"scalar", {11, 3}, {}},
                          {"longer_than_a_range", {130, 131}, {130, 131}},
                          {"longer_with_row", {130, 131}, {131}}};

TEST(Binary, GradientsMatchCentralDifferences) {
  for (const Named& op : kOps) {
    for (const Shapes& s : kShapes) {
      const auto run = [&](Tape& tape, const std::vector<Tensor>& in) {
        return op.op(tape, in[0], in[1]);
      };
      EXPECT_LT(testing::gradient_error({s.name, {s.a, s.b}, run, fill}), 1e-6)
          << op.name << " " << s.name;
    }
  }
}

TEST(Binary, MatchesGoldenValues) {
  for (const Named& op : kOps) {
    testing::expect_matches_golden(op.name,
                                   [&](Tape& tape, const testing::GoldenCase& golden) -> Tensor {
                                     return op.op(tape, golden["a"], golden["b"]);
                                   });
  }
}

TEST(Binary, OneTensorTwiceGetsBothGradients) {
  const auto doubled = [](Tape& tape, const std::vector<Tensor>& in) {
    return add(tape, in[0], in[0]);
  };
  const auto squared = [](Tape& tape, const std::vector<Tensor>& in) {
    return mul(tape, in[0], in[0]);
  };
  EXPECT_LT(testing::gradient_error({"add", {{5, 3}}, doubled}), 1e-6);
  EXPECT_LT(testing::gradient_error({"mul", {{5, 3}}, squared}), 1e-6);
}

TEST(Binary, EqualElementsSendTheGradientToTheFirst) {
  const Tensor a = Tensor::from<double>({2}, {1, 2}), b = Tensor::from<double>({2}, {1, 3});
  Tape tape;
  tape.watch(a);
  tape.watch(b);
  tape.backward(maximum(tape, a, b), Tensor::from<double>({2}, {5, 7}));
  const Tensor da = tape.grad(a), db = tape.grad(b);
  EXPECT_EQ(da.data<double>()[0], 5);
  EXPECT_EQ(db.data<double>()[0], 0);
  EXPECT_EQ(da.data<double>()[1], 0);
  EXPECT_EQ(db.data<double>()[1], 7);
}

TEST(Binary, SinglePrecisionFollowsDoubleAndRepeats) {
  for (const Named& op : kOps) {
    const auto run = [&](Tape& tape, const std::vector<Tensor>& in) {
      return op.op(tape, in[0], in[1]);
    };
    EXPECT_TRUE(testing::repeats_for_any_thread_count({"rows", {{257, 131}, {131}}, run}));
    if (op.op == div || op.op == maximum) continue;  // random inputs come near zero, or tie
    EXPECT_LT(testing::single_precision_error({"rows", {{257, 131}, {131}}, run}), 1e-5) << op.name;
  }
}

void expect_follows_cpu(const Named& op, const Shapes& s) {
  const auto run = [&](Tape& tape, const std::vector<Tensor>& in) {
    return op.op(tape, in[0], in[1]);
  };
  const OpCase op_case{s.name, {s.a, s.b}, run, fill};
  EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op.name << " " << s.name;
  EXPECT_LT(testing::cuda_bf16_error(op_case), 2e-2) << op.name << " " << s.name;
}

TEST(BinaryCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const Shapes more[] = {{"packs", {5, 16}, {16}},
                         {"packs_of_f32", {5, 12}, {12}},
                         {"position", {3, 16, 24}, {16, 24}},
                         {"middle", {3, 5, 8}, {5, 1}},
                         {"outer_product", {9, 1}, {1, 8}},
                         {"alternating", {2, 1, 3, 1, 5}, {7, 1, 3, 5}},
                         {"empty", {0, 3}, {3}},
                         {"empty_inside", {3, 0}, {3, 1}}};
  for (const Named& op : kOps) {
    for (const Shapes& s : kShapes) expect_follows_cpu(op, s);
    for (const Shapes& s : more) expect_follows_cpu(op, s);
  }
}

TEST(BinaryCuda, LongSumsOverBroadcastAxes) {
  OFFSHOOT_NEEDS_CUDA();
  // Several slices: of few columns, of many, of rows, of everything.
  const Shapes shapes[] = {{"few_columns", {4099, 5}, {5}},
                           {"columns", {1031, 67}, {67}},
                           {"rows", {3, 9001}, {3, 1}},
                           {"whole", {97, 101}, {}}};
  for (const Shapes& s : shapes) {
    expect_follows_cpu(kOps[0], s);
    expect_follows_cpu(kOps[2], s);
  }
}

TEST(BinaryCuda, OneTensorTwiceGetsBothGradients) {
  OFFSHOOT_NEEDS_CUDA();
  const auto squared = [](Tape& tape, const std::vector<Tensor>& in) {
    return mul(tape, in[0], in[0]);
  };
  const auto doubled = [](Tape& tape, const std::vector<Tensor>& in) {
    return add(tape, in[0], in[0]);
  };
  EXPECT_LT(testing::cuda_error({"mul", {{5, 3}}, squared}), 1e-5);
  EXPECT_LT(testing::cuda_error({"add", {{5, 3}}, doubled}), 1e-5);
}

TEST(BinaryCuda, RefusesOtherDevices) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor a({2}, DType::f32, testing::kCuda), b({2}, DType::f32);
  Tape tape = Tape::none();
  EXPECT_EQ(testing::error_text([&] { add(tape, a, b); }),
            "[add] b: got a tensor on cpu, expected cuda:0");
}

TEST(Binary, NoElementsIsLegal) {
  Tape tape = Tape::none();
  EXPECT_EQ(add(tape, Tensor({0, 3}, DType::f32), Tensor({3}, DType::f32)).shape(), (Shape{0, 3}));
}

TEST(Binary, NamesWhatIsWrong) {
  const Tensor a({2, 3}, DType::f32);
  const auto message = [&](const Tensor& b) {
    return testing::error_text([&] {
      Tape tape;
      mul(tape, a, b);
    });
  };
  EXPECT_EQ(message(Tensor({2, 4}, DType::f32)),
            "[mul] shape: got [2, 4], expected trailing sizes equal to those of [2, 3] or 1");
  EXPECT_EQ(message(Tensor({2, 3}, DType::f64)), "[mul] b: got f64, expected f32");
  EXPECT_EQ(message(Tensor()), "[mul] b: got no tensor, expected one");
}

Tensor every_third(const Shape& shape) {
  Tensor condition(shape, DType::i32);
  for (int64_t i = 0; i < condition.size(); ++i) condition.data<int32_t>()[i] = i % 3 == 0 ? 2 : 0;
  return condition;
}

TEST(Where, GradientsMatchCentralDifferences) {
  const auto run = [](const Shape& condition) {
    return [condition](Tape& tape, const std::vector<Tensor>& in) {
      return where(tape, every_third(condition), in[0], in[1]);
    };
  };
  EXPECT_LT(testing::gradient_error({"same", {{7, 5}, {7, 5}}, run({7, 5})}), 1e-6);
  EXPECT_LT(testing::gradient_error({"row", {{7, 5}, {5}}, run({7, 1})}), 1e-6);
  EXPECT_LT(testing::gradient_error({"wide", {{5}, {}}, run({3, 7, 5})}), 1e-6);
  EXPECT_LT(testing::gradient_error({"one", {{1}, {1}}, run({1})}), 1e-6);
  EXPECT_LT(testing::gradient_error({"long", {{130, 131}, {131}}, run({130, 131})}), 1e-6);
}

TEST(WhereCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  struct Case {
    const char* name;
    Shape condition, a, b;
  };
  for (const Case& c : {Case{"same", {7, 5}, {7, 5}, {7, 5}},
                        {"packs", {3, 16}, {3, 16}, {3, 16}},
                        {"row", {7, 1}, {7, 5}, {5}},
                        {"wide", {3, 7, 5}, {5}, {}},
                        {"one", {1}, {1}, {1}},
                        {"empty", {0, 1}, {3}, {0, 3}},
                        {"long", {1031, 1}, {1031, 67}, {67}}}) {
    for (const bool moved : {false, true}) {
      const auto run = [&](Tape& tape, const std::vector<Tensor>& in) {
        const Tensor condition = every_third(c.condition);
        return where(tape, moved ? condition.to(in[0].device()) : condition, in[0], in[1]);
      };
      EXPECT_LT(testing::cuda_error({c.name, {c.a, c.b}, run}), 1e-5) << c.name;
      EXPECT_LT(testing::cuda_bf16_error({c.name, {c.a, c.b}, run}), 2e-2) << c.name;
    }
  }
}

TEST(Where, MatchesGoldenValues) {
  testing::expect_matches_golden("where", [](Tape& tape, const testing::GoldenCase& golden) {
    return where(tape, golden["condition"], golden["a"], golden["b"]);
  });
}

TEST(Where, NamesWhatIsWrong) {
  EXPECT_EQ(testing::error_text([] {
              Tape tape;
              const Tensor a({2}, DType::f32);
              where(tape, a, a, a);
            }),
            "[where] condition: got f32, expected i32");
}

}  // namespace
}  // namespace offshoot
