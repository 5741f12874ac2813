#include "ops/layout.h"

#include <gtest/gtest.h>

#include "ops/rows.h"
#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::GoldenCase;
using testing::OpCase;
using Inputs = std::vector<Tensor>;

void expect_gradient(const char* name, const std::vector<Shape>& shapes,
                     std::function<Tensor(Tape&, const Inputs&)> op) {
  const OpCase op_case{name, shapes, std::move(op)};
  EXPECT_LT(testing::gradient_error(op_case), 1e-6) << name;
  EXPECT_TRUE(testing::repeats_for_any_thread_count(op_case)) << name;
}

TEST(Layout, GradientsMatchCentralDifferences) {
  for (const int64_t axis : {0, 1, 2, -1}) {
    expect_gradient("slice", {{5, 7, 3}},
                    [=](Tape& tape, const Inputs& in) { return slice(tape, in[0], axis, 1, 2); });
    expect_gradient("concat", {{2, 3, 5}, {2, 3, 5}},
                    [=](Tape& tape, const Inputs& in) { return concat(tape, in, axis); });
    expect_gradient("stack", {{2, 3}, {2, 3}, {2, 3}},
                    [=](Tape& tape, const Inputs& in) { return stack(tape, in, axis); });
    for (const int64_t other : {0, 1, 2}) {
      expect_gradient("transpose", {{3, 5, 7}}, [=](Tape& tape, const Inputs& in) {
        return transpose(tape, in[0], axis, other);
      });
    }
  }
  expect_gradient("reshape", {{3, 4}}, [](Tape& tape, const Inputs& in) {
    return reshape(tape, in[0], {2, 6});
  });
}

TEST(Layout, GradientsOfOneElementAndOfLongRuns) {
  for (const Shape& shape : {Shape{1, 1}, {131, 257}}) {
    expect_gradient("slice", {shape}, [](Tape& tape, const Inputs& in) {
      return slice(tape, in[0], 0, in[0].dim(0) / 3, in[0].dim(0) / 2 + 1);
    });
    expect_gradient("transpose", {shape},
                    [](Tape& tape, const Inputs& in) { return transpose(tape, in[0], 0, 1); });
    expect_gradient("reshape", {shape}, [](Tape& tape, const Inputs& in) {
      return reshape(tape, in[0], {in[0].dim(1), in[0].dim(0)});
    });
    for (const int64_t axis : {0, 1}) {
      expect_gradient("concat", {shape, shape},
                      [=](Tape& tape, const Inputs& in) { return concat(tape, in, axis); });
      expect_gradient("stack", {shape, shape},
                      [=](Tape& tape, const Inputs& in) { return stack(tape, in, axis); });
    }
  }
}

TEST(Layout, PartsOfOneTensorAddUp) {
  expect_gradient("twice", {{3, 4}}, [](Tape& tape, const Inputs& in) {
    const Tensor parts[] = {in[0], slice(tape, in[0], 1, 0, 2), reshape(tape, in[0], {3, 4})};
    return concat(tape, parts, 1);
  });
}

TEST(Layout, UnevenPartsJoin) {
  expect_gradient("uneven", {{2, 1}, {2, 5}, {2, 3}},
                  [](Tape& tape, const Inputs& in) { return concat(tape, in, 1); });
}

TEST(Layout, MatchesGoldenValues) {
  testing::expect_matches_golden("slice", [](Tape& tape, const GoldenCase& golden) {
    return slice(tape, golden["x"], golden.integer("axis"), golden.integer("first"),
                 golden.integer("count"));
  });
  testing::expect_matches_golden("reshape", [](Tape& tape, const GoldenCase& golden) {
    return reshape(tape, golden["x"], Shape(golden.integers("shape")));
  });
  testing::expect_matches_golden("transpose", [](Tape& tape, const GoldenCase& golden) {
    return transpose(tape, golden["x"], golden.integer("axis_a"), golden.integer("axis_b"));
  });
  const auto parts_of = [](const GoldenCase& golden) {
    return Inputs{golden["a"], golden["b"], golden["c"]};
  };
  testing::expect_matches_golden("concat", [&](Tape& tape, const GoldenCase& golden) {
    return concat(tape, parts_of(golden), golden.integer("axis"));
  });
  testing::expect_matches_golden("stack", [&](Tape& tape, const GoldenCase& golden) {
    return stack(tape, parts_of(golden), golden.integer("axis"));
  });
}

TEST(Layout, NamesWhatIsWrong) {
  const Tensor x({4, 3}, DType::f32), y({4, 2}, DType::f32);
  const auto message = [](auto&& f) {
    return testing::error_text([&] {
      Tape tape;
      f(tape);
    });
  };
  EXPECT_EQ(message([&](Tape& tape) { slice(tape, x, 0, 3, 2); }),
            "[slice] range: got 2 from 3 on, expected within the 4 of axis 0");
  EXPECT_EQ(message([&](Tape& tape) { reshape(tape, x, {5}); }),
            "[reshape] shape: got [5], expected the size of [4, 3]");
  EXPECT_EQ(message([&](Tape& tape) {
              concat(tape, std::vector{x, y}, 0);
            }),
            "[concat] part: got shape [4, 2], expected [4, 3] but for axis 0");
  EXPECT_EQ(message([&](Tape& tape) {
              stack(tape, std::vector{x, y}, 0);
            }),
            "[stack] part: got shape [4, 2], expected [4, 3]");
  EXPECT_EQ(message([&](Tape& tape) { concat(tape, {}, 0); }),
            "[concat] parts: got none, expected at least one");
  EXPECT_EQ(message([&](Tape& tape) { transpose(tape, x, 0, 2); }),
            "[transpose] axis: got 2, expected -2..1 for shape [4, 3]");
}

Tensor index_of(std::initializer_list<int64_t> values) {
  return Tensor::from<int64_t>({static_cast<int64_t>(values.size())}, values);
}

TEST(Rows, GradientsMatchCentralDifferences) {
  const Tensor index = index_of({2, 0, 2, 4, 2});
  for (const Shape& row : {Shape{5}, {5, 1}, {5, 7}, {5, 3, 19}, {5, 20011}}) {
    expect_gradient("gather", {row},
                    [=](Tape& tape, const Inputs& in) { return gather_rows(tape, in[0], index); });
    expect_gradient("scatter", {row}, [=](Tape& tape, const Inputs& in) {
      return scatter_rows(tape, in[0], index, 6);
    });
  }
}

TEST(Rows, MatchesGoldenValues) {
  testing::expect_matches_golden("gather_rows", [](Tape& tape, const GoldenCase& golden) {
    return gather_rows(tape, golden["x"], golden["index"]);
  });
  testing::expect_matches_golden("scatter_rows", [](Tape& tape, const GoldenCase& golden) {
    return scatter_rows(tape, golden["x"], golden["index"], golden.integer("rows"));
  });
}

TEST(Rows, NoIndexIsLegal) {
  Tape tape = Tape::none();
  const Tensor x = testing::random_tensor({3, 2}, DType::f32, 1);
  EXPECT_EQ(gather_rows(tape, x, Tensor({0}, DType::i64)).shape(), (Shape{0, 2}));
  const Tensor sums = scatter_rows(tape, Tensor({0, 2}, DType::f32), Tensor({0}, DType::i64), 3);
  for (const float value : sums.elements<float>()) EXPECT_EQ(value, 0.0f);
}

TEST(Rows, NamesWhatIsWrong) {
  Tape tape;
  const Tensor x({3, 2}, DType::f32);
  EXPECT_EQ(testing::error_text([&] {
              gather_rows(tape, x, index_of({1, 3}));
            }),
            "[gather_rows] index: got 3, expected 0..2");
  EXPECT_EQ(testing::error_text([&] {
              scatter_rows(tape, x, index_of({0, 1, -1}), 2);
            }),
            "[scatter_rows] index: got -1, expected 0..1");
  EXPECT_EQ(testing::error_text([&] {
              scatter_rows(tape, x, index_of({0, 1}), 2);
            }),
            "[scatter_rows] index: got shape [2], expected [3]");
}

}  // namespace
}  // namespace offshoot
