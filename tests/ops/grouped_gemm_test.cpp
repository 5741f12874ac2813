#include "ops/grouped_gemm.h"

#include <gtest/gtest.h>

#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

Tensor offsets_of(const std::vector<int64_t>& offsets) {
  return Tensor::from<int64_t>({static_cast<int64_t>(offsets.size())},
                               std::span<const int64_t>(offsets));
}

OpCase case_of(const char* name, std::vector<int64_t> offsets, int64_t D, int64_t H,
               Epilogue epilogue, bool bias = true) {
  const auto E = static_cast<int64_t>(offsets.size()) - 1;
  OpCase op_case{name, {{offsets.back(), D}, {E, H, D}}, {}};
  if (bias) op_case.inputs.push_back({E, H});
  op_case.op = [=](Tape& tape, const std::vector<Tensor>& in) {
    return grouped_linear(tape, in[0], in[1], bias ? in[2] : Tensor(), offsets_of(offsets),
                          epilogue);
  };
  return op_case;
}

TEST(GroupedLinear, GradientsMatchCentralDifferences) {
  for (const Epilogue epilogue : {Epilogue::none, Epilogue::gelu}) {
    for (const OpCase& op_case :
         {case_of("one_row", {0, 1}, 1, 1, epilogue),
          case_of("prime_sizes", {0, 3, 10, 11}, 5, 7, epilogue),
          case_of("empty_experts", {0, 0, 5, 5, 7, 7}, 3, 5, epilogue),
          case_of("all_on_one", {0, 0, 13, 13}, 5, 3, epilogue),
          case_of("no_rows", {0, 0, 0}, 5, 3, epilogue),
          case_of("no_bias", {0, 2, 9}, 5, 3, epilogue, false),
          case_of("larger_than_a_block", {0, 131, 132, 263}, 37, 41, epilogue)}) {
      EXPECT_LT(testing::gradient_error(op_case), 1e-6) << op_case.name;
      if (epilogue == Epilogue::none) {
        EXPECT_TRUE(testing::repeats_for_any_thread_count(op_case)) << op_case.name;
      }
    }
  }
}

TEST(GroupedLinear, MatchesGoldenValues) {
  testing::expect_matches_golden("grouped_gemm", [](Tape& tape, const testing::GoldenCase& golden) {
    return grouped_linear(tape, golden["x"], golden["weight"], golden["bias"], golden["offsets"],
                          golden.flag("gelu") ? Epilogue::gelu : Epilogue::none);
  });
}

TEST(GroupedLinear, MatchesItsSpecification) {
  Tape tape = Tape::none();
  const Tensor x = testing::random_tensor({500, 64}, DType::f32, 1);
  const Tensor weight = testing::random_tensor({4, 32, 64}, DType::f32, 2);
  const Tensor bias = testing::random_tensor({4, 32}, DType::f32, 3);
  const Tensor offsets = offsets_of({0, 200, 200, 201, 500});
  for (const Epilogue epilogue : {Epilogue::none, Epilogue::gelu}) {
    EXPECT_LT(testing::relative_error(grouped_linear(tape, x, weight, bias, offsets, epilogue),
                                      grouped_linear_reference(x, weight, bias, offsets, epilogue)),
              1e-5);
  }
}

TEST(GroupedLinear, AnExpertWithoutRowsKeepsWhatItsSlotHolds) {
  const Tensor x = testing::random_tensor({3, 2}, DType::f64, 1);
  const Tensor weight = testing::random_tensor({2, 2, 2}, DType::f64, 2);
  Tape tape;
  tape.watch(weight);
  const GradSlot before = tape.slot(weight);
  for (double& value : before.grad.elements<double>()) value = 7.0;
  const Tensor out = grouped_linear(tape, x, weight, {}, offsets_of({0, 3, 3}), Epilogue::none);
  tape.backward(out, Tensor::full(out.shape(), DType::f64, 1.0));
  const Tensor idle = tape.grad(weight).rows(1, 1);
  for (const double value : idle.elements<double>()) EXPECT_EQ(value, 7.0);
}

TEST(GroupedLinear, NamesWhatIsWrong) {
  const Tensor x({4, 3}, DType::f32), weight({2, 5, 3}, DType::f32);
  const auto message = [&](const Tensor& bias, const std::vector<int64_t>& offsets) {
    return testing::error_text([&] {
      Tape tape;
      grouped_linear(tape, x, weight, bias, offsets_of(offsets), Epilogue::none);
    });
  };
  EXPECT_EQ(message({}, {0, 2, 3}),
            "[grouped_linear] expert_offsets: got 0..3, expected to rise from 0 to 4");
  EXPECT_EQ(message({}, {0, 5, 4}),
            "[grouped_linear] expert_offsets: got 0..4, expected to rise from 0 to 4");
  EXPECT_EQ(message({}, {0, 4}), "[grouped_linear] expert_offsets: got shape [2], expected [3]");
  EXPECT_EQ(message(Tensor({5}, DType::f32), {0, 2, 4}),
            "[grouped_linear] bias: got shape [5], expected [2, 5]");
}

}  // namespace
}  // namespace offshoot
