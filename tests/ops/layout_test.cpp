#include "ops/layout.h"

#include <gtest/gtest.h>

#include <cmath>

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

void expect_follows_cpu(const char* name, const std::vector<Shape>& shapes,
                        std::function<Tensor(Tape&, const Inputs&)> op) {
  const OpCase op_case{name, shapes, std::move(op)};
  EXPECT_EQ(testing::cuda_error(op_case), 0.0) << name;
  EXPECT_LT(testing::cuda_bf16_error(op_case), 2e-2) << name;
}

TEST(LayoutCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Shape& shape : {Shape{5, 7, 3}, {2, 33, 35}, {4, 8, 16}, {3, 1, 2}}) {
    for (const int64_t axis : {0, 1, 2}) {
      expect_follows_cpu("slice", {shape}, [=](Tape& tape, const Inputs& in) {
        return slice(tape, in[0], axis, in[0].dim(axis) / 3, (in[0].dim(axis) + 1) / 2);
      });
      expect_follows_cpu("concat", {shape, shape},
                         [=](Tape& tape, const Inputs& in) { return concat(tape, in, axis); });
      expect_follows_cpu("stack", {shape, shape, shape},
                         [=](Tape& tape, const Inputs& in) { return stack(tape, in, axis); });
      for (const int64_t other : {0, 1, 2}) {
        expect_follows_cpu("transpose", {shape}, [=](Tape& tape, const Inputs& in) {
          return transpose(tape, in[0], axis, other);
        });
      }
    }
    expect_follows_cpu("reshape", {shape}, [](Tape& tape, const Inputs& in) {
      return reshape(tape, in[0], {in[0].size()});
    });
  }
}

TEST(LayoutCuda, UnevenPartsAndNone) {
  OFFSHOOT_NEEDS_CUDA();
  expect_follows_cpu("uneven", {{2, 1}, {2, 8}, {2, 0}, {2, 4}},
                     [](Tape& tape, const Inputs& in) { return concat(tape, in, 1); });
  expect_follows_cpu("twice", {{3, 4}}, [](Tape& tape, const Inputs& in) {
    const Tensor parts[] = {in[0], slice(tape, in[0], 1, 0, 2), reshape(tape, in[0], {3, 4})};
    return concat(tape, parts, 1);
  });
  expect_follows_cpu("heads", {{2, 5, 3, 8}},
                     [](Tape& tape, const Inputs& in) { return transpose(tape, in[0], 1, 2); });
  expect_follows_cpu("far_axes", {{3, 2, 5, 7}},
                     [](Tape& tape, const Inputs& in) { return transpose(tape, in[0], 0, 3); });
  expect_follows_cpu("no_rows", {{0, 3}},
                     [](Tape& tape, const Inputs& in) { return transpose(tape, in[0], 0, 1); });
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

TEST(RowsCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor few = index_of({2, 0, 2, 4, 2});
  Tensor many({1031}, DType::i64);
  Random random(5, 0);
  for (int64_t& row : many.elements<int64_t>()) row = random.below(5);
  for (const Tensor& index : {few, many, Tensor({0}, DType::i64)}) {
    for (const Shape& row : {Shape{}, {1}, {7}, {16}, {3, 19}, {0}}) {
      const Shape x = row.inserted(0, 5), parts = row.inserted(0, index.size());
      for (const bool moved : {false, true}) {
        const auto there = [=](const Inputs& in) {
          return moved ? index.to(in[0].device()) : index;
        };
        const OpCase gather{"gather", {x}, [=](Tape& tape, const Inputs& in) {
                              return gather_rows(tape, in[0], there(in));
                            }};
        const OpCase scatter{"scatter", {parts}, [=](Tape& tape, const Inputs& in) {
                               return scatter_rows(tape, in[0], there(in), 6);
                             }};
        for (const OpCase& op_case : {gather, scatter}) {
          EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name << to_string(x);
          EXPECT_LT(testing::cuda_bf16_error(op_case), 2e-2) << op_case.name << to_string(x);
        }
      }
    }
  }
}

TEST(RowsCuda, SumsInTheOrderOfTheIndex) {
  OFFSHOOT_NEEDS_CUDA();
  const OpCase op_case{"scatter", {{64, 8}}, [](Tape& tape, const Inputs& in) {
                         Tensor index({64}, DType::i64);
                         for (int64_t m = 0; m < 64; ++m) index.data<int64_t>()[m] = m * 7 % 3;
                         return scatter_rows(tape, in[0], index, 3);
                       }};
  EXPECT_EQ(testing::cuda_error({op_case}), 0.0);
}

TEST(RowsCuda, IndicesOutOfRangeTouchNothing) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor x = testing::random_tensor({3, 2}, DType::f32, 1).to(testing::kCuda);
  const Tensor index = index_of({1, -1, int64_t{1} << 40}).to(testing::kCuda);
  const Tensor ones = Tensor::full({3, 2}, DType::f32, 1.0, testing::kCuda);
  const auto run = [&](auto op) {
    Tape tape;
    tape.watch(x);
    const Tensor out = op(tape);
    tape.backward(out, ones);
    return std::pair(out.to(Device{}), tape.grad(x).to(Device{}));
  };
  const auto [picked, dpicked] = run([&](Tape& tape) { return gather_rows(tape, x, index); });
  const auto [sums, dsums] = run([&](Tape& tape) { return scatter_rows(tape, x, index, 3); });
  const Tensor on_cpu = x.to(Device{});
  for (int64_t i = 0; i < 6; ++i) {
    const bool inside = i / 2 == 1;  // row 1 of the sums and of x; row 0 of what is picked
    EXPECT_EQ(std::isnan(picked.data<float>()[i]), i / 2 > 0);
    EXPECT_EQ(dpicked.data<float>()[i], inside ? 1.0f : 0.0f);
    EXPECT_EQ(sums.data<float>()[i], inside ? on_cpu.data<float>()[i % 2] : 0.0f);
    EXPECT_EQ(dsums.data<float>()[i], i / 2 == 0 ? 1.0f : 0.0f);
  }
}

TEST(RowsCuda, NothingWaits) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor x = testing::random_tensor({3, 2}, DType::f32, 1).to(testing::kCuda);
  const int64_t waits = device_waits();
  Tape tape;
  tape.watch(x);
  const Tensor index = index_of({1, 0, 1});
  const Tensor out = scatter_rows(tape, gather_rows(tape, x, index), index, 2);
  tape.backward(out, out.clone());
  EXPECT_EQ(device_waits(), waits);
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
