#include "ops/grouped_gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

using GroupedLinear = Tensor (*)(Tape&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                 Epilogue);

Tensor offsets_of(const std::vector<int64_t>& offsets) {
  return Tensor::from<int64_t>({static_cast<int64_t>(offsets.size())}, offsets);
}

struct Case {
  std::string name;
  std::vector<int64_t> offsets;
  int64_t D, H;
  Epilogue epilogue = Epilogue::gelu;
  bool bias = true;
};

Tensor unaligned(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 const Tensor& offsets, Epilogue epilogue) {
  return grouped_linear(tape, x, weight, bias, offsets, epilogue);
}

OpCase op_case(const Case& c, GroupedLinear op = unaligned) {
  const int64_t E = static_cast<int64_t>(c.offsets.size()) - 1;
  std::vector<Shape> inputs{{c.offsets.back(), c.D}, {E, c.H, c.D}};
  if (c.bias) inputs.push_back({E, c.H});
  return {c.name, inputs, [c, op](Tape& tape, const std::vector<Tensor>& in) {
            return op(tape, in[0], in[1], c.bias ? in[2] : Tensor(), offsets_of(c.offsets),
                      c.epilogue);
          }};
}

const Case kCases[] = {
    {"one_row", {0, 1}, 3, 5},
    {"one_of_each", {0, 1}, 1, 1, Epilogue::none},
    {"empty_experts", {0, 0, 3, 3, 7, 7}, 5, 7},
    {"all_on_one", {0, 0, 11, 11}, 7, 3, Epilogue::none},
    {"no_bias", {0, 2, 7}, 5, 7, Epilogue::none, false},
    {"gelu_without_bias", {0, 2, 7}, 5, 7, Epilogue::gelu, false},
    {"prime_sizes", {0, 13, 30, 31}, 17, 29},
    {"wide", {0, 3, 3, 10}, 67, 131},
    {"many_rows", {0, 241, 241, 500, 839}, 33, 19},
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

class GroupedLinearGradient : public ::testing::TestWithParam<Case> {};

TEST_P(GroupedLinearGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(op_case(GetParam())), 1e-6);
}

TEST_P(GroupedLinearGradient, OfTheReferenceMatchesCentralDifferences) {
  // Plain loops over rows: more of them are more of the same, and take half a minute instrumented.
  if (kSanitized && GetParam().offsets.back() > 100) GTEST_SKIP() << "too long under sanitizers";
  EXPECT_LT(testing::gradient_error(op_case(GetParam(), grouped_linear_reference)), 1e-6);
}

TEST_P(GroupedLinearGradient, SinglePrecisionFollowsDouble) {
  EXPECT_LT(testing::single_precision_error(op_case(GetParam())), 1e-5);
}

TEST_P(GroupedLinearGradient, RepeatsForAnyNumberOfThreads) {
  Case c = GetParam();
  c.epilogue = Epilogue::none;
  EXPECT_TRUE(testing::repeats_for_any_thread_count(op_case(c)));
}

INSTANTIATE_TEST_SUITE_P(Cases, GroupedLinearGradient, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

// Result and gradients of one case, the latter on top of `before` where it is given.
std::vector<Tensor> run(const Case& c, GroupedLinear op, DType dtype, bool prefilled) {
  const OpCase with_op = op_case(c, op);
  std::vector<Tensor> inputs, results;
  Tape tape;
  for (const Shape& shape : with_op.inputs) {
    inputs.push_back(testing::random_tensor(shape, dtype, 10 + inputs.size()));
    tape.watch(inputs.back());
    if (prefilled) {
      copy_elements(testing::random_tensor(shape, dtype, 20), tape.slot(inputs.back()).grad);
    }
  }
  results.push_back(with_op.op(tape, inputs));
  tape.backward(results[0], testing::random_tensor(results[0].shape(), dtype, 30));
  for (const Tensor& input : inputs) results.push_back(tape.grad(input));
  return results;
}

TEST(GroupedLinear, FollowsThePlainLoops) {
  for (const Case& c : kCases) {
    for (const bool prefilled : {false, true}) {
      SCOPED_TRACE(c.name);
      for (const DType dtype : {DType::f32, DType::f64}) {
        const auto got = run(c, unaligned, dtype, prefilled);
        const auto expected = run(c, grouped_linear_reference, dtype, prefilled);
        for (size_t i = 0; i < got.size(); ++i) {
          EXPECT_LT(testing::relative_error(got[i], expected[i]),
                    dtype == DType::f32 ? 1e-5 : 1e-13)
              << "result " << i;
        }
      }
    }
  }
}

// Parameters are inputs 1 and 2.
TEST(GroupedLinearCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Case& c : kCases) {
    EXPECT_LT(testing::cuda_error(op_case(c)), 1e-5) << c.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case(c), {1, 2}), 2e-2) << c.name;
  }
}

Tensor aligned(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
               const Tensor& offsets, Epilogue epilogue) {
  return grouped_linear(tape, x, weight, bias, offsets.to(x.device()), epilogue, 128);
}

TEST(GroupedLinearCuda, WithAlignedRowsFollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Case& c : {Case{"no_rows", {0, 0, 0}, 64, 64}, Case{"one_tile", {0, 128}, 64, 64},
                        Case{"empty_expert", {0, 128, 128, 256}, 64, 128},
                        Case{"no_bias", {0, 128, 256}, 128, 64, Epilogue::none, false},
                        Case{"odd_widths", {0, 128, 128, 256}, 7, 5}}) {
    EXPECT_LT(testing::cuda_error(op_case(c, aligned)), 1e-5) << c.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case(c, aligned), {1, 2}), 2e-2) << c.name;
  }
  const Tensor x = Tensor::zeros({128, 64}, DType::bf16, testing::kCuda);
  EXPECT_EQ(expert_row_alignment(x, 7, 5), 1);
  EXPECT_EQ(expert_row_alignment(x.to(Device{}), 64, 64), 1);
}

// Between the last offset and the end of x.
TEST(GroupedLinearCuda, RoomBehindTheRowsIsLeftAlone) {
  OFFSHOOT_NEEDS_CUDA();
  testing::poison_storage(true);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor x(Shape{384, 64}, dtype, testing::kCuda);  // NaN
    fill_zero(x.rows(0, 256));
    const auto parameter = [](const Shape& shape) {
      return testing::random_tensor(shape, DType::f32, 3).to(testing::kCuda);
    };
    const Tensor weight = parameter({2, 64, 64}), bias = parameter({2, 64});
    Tape tape;
    for (const Tensor& input : {x, weight, bias}) tape.watch(input);
    const Tensor out = aligned(tape, x, weight, bias, offsets_of({0, 128, 256}), Epilogue::gelu);
    tape.backward(out, out.clone());
    for (const Tensor& rows : {out, tape.grad(x)}) {
      const Tensor row_of_each = rows.to(Device{});
      for (int64_t row = 0; row < 384; ++row) {
        const double value = row_of_each.rows(row, 1).view({64}).rows(5, 1).item();
        EXPECT_EQ(std::isnan(value), row >= 256) << row;
      }
    }
    for (const Tensor& gradient : {tape.grad(weight).to(Device{}), tape.grad(bias).to(Device{})}) {
      for (const float g : gradient.elements<float>()) ASSERT_TRUE(std::isfinite(g));
    }
  }
#ifndef OFFSHOOT_POISON
  testing::poison_storage(false);
#endif
}

TEST(GroupedLinear, AnExpertWithoutRowsGetsZerosOrIsLeftAlone) {
  offshoot::testing::poison_storage(true);
  const Case c{"", {0, 2, 2, 5}, 3, 4};
  for (const bool prefilled : {false, true}) {
    const auto results = run(c, unaligned, DType::f64, prefilled);
    for (const size_t which : {2u, 3u}) {
      const Tensor gradient = results[which].rows(1, 1);
      const Tensor before =
          testing::random_tensor(results[which].shape(), DType::f64, 20).rows(1, 1);
      for (int64_t i = 0; i < gradient.size(); ++i) {
        EXPECT_EQ(gradient.data<double>()[i], prefilled ? before.data<double>()[i] : 0.0);
      }
    }
  }
#ifndef OFFSHOOT_POISON
  offshoot::testing::poison_storage(false);
#endif
}

TEST(GroupedLinear, RecordingChangesNoBit) {
  const Case c{"", {0, 5, 5, 13}, 17, 33};
  const OpCase with_op = op_case(c);
  std::vector<Tensor> inputs;
  for (const Shape& shape : with_op.inputs) {
    inputs.push_back(testing::random_tensor(shape, DType::f32, 1));
  }
  Tape none = Tape::none(), tape;
  tape.watch(inputs[0]);
  const Tensor a = with_op.op(none, inputs), b = with_op.op(tape, inputs);
  EXPECT_TRUE(std::ranges::equal(a.elements<float>(), b.elements<float>()));
}

TEST(GroupedLinear, NoRowsIsLegal) {
  const auto results = run({"", {0, 0, 0}, 3, 4}, unaligned, DType::f32, false);
  EXPECT_EQ(results[0].shape(), (Shape{0, 4}));
  const Tensor dweight = results[2];
  EXPECT_TRUE(std::ranges::all_of(dweight.elements<float>(), [](float g) { return g == 0; }));
}

TEST(GroupedLinear, MatchesGoldenValues) {
  testing::expect_matches_golden("grouped_gemm", [](Tape& tape, const testing::GoldenCase& golden) {
    return grouped_linear(tape, golden["x"], golden["weight"], golden["bias"], golden["offsets"],
                          golden.flag("gelu") ? Epilogue::gelu : Epilogue::none);
  });
}

TEST(GroupedLinear, NamesWhatIsWrong) {
  Tape tape;
  const Tensor x({4, 3}, DType::f32), weight({2, 5, 3}, DType::f32), bias({2, 5}, DType::f32);
  const auto text = [&](const Tensor& w, const Tensor& b, const std::vector<int64_t>& offsets) {
    return testing::error_text(
        [&] { grouped_linear(tape, x, w, b, offsets_of(offsets), Epilogue::none); });
  };
  EXPECT_EQ(text(Tensor({2, 5, 4}, DType::f32), bias, {0, 1, 4}),
            "[grouped_linear] weight: got shape [2, 5, 4], expected [2, 5, 3]");
  EXPECT_EQ(text(weight, Tensor({5}, DType::f32), {0, 1, 4}),
            "[grouped_linear] bias: got shape [5], expected [2, 5]");
  EXPECT_EQ(text(weight, bias, {0, 4}),
            "[grouped_linear] expert_offsets: got shape [2], expected [3]");
  for (const std::vector<int64_t>& offsets :
       {std::vector<int64_t>{0, 1, 3}, {1, 1, 4}, {0, 5, 4}}) {
    EXPECT_THROW(grouped_linear(tape, x, weight, bias, offsets_of(offsets), Epilogue::none), Error);
  }
}

}  // namespace
}  // namespace offshoot
