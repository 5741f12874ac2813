#include "ops/permute.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/ops/op_check.h"
#include "tests/ops/random_routing.h"

namespace offshoot {
namespace {

using enum CombineWeights;
using testing::OpCase;
using testing::top_k;
using testing::top_p;

struct Case {
  std::string name;
  int64_t N, E, D;
  RouteOptions options;
};

Routing fixed_routing(const Case& c, DType dtype) {
  Tape tape = Tape::none();
  return route(tape, testing::random_probabilities({c.N, c.E}, dtype, 5, c.options.p), c.options);
}

// The same on the device of `like`, whose dtype may be bf16 there.
Routing fixed_routing(const Case& c, const Tensor& like) {
  const Device device = like.device();
  Routing routing = fixed_routing(c, device.is_cuda() ? DType::f32 : like.dtype());
  for (Tensor* tensor : {&routing.weights, &routing.token_offsets, &routing.expert_of_pair,
                         &routing.tokens_per_expert, &routing.expert_offsets, &routing.token_of_row,
                         &routing.row_of_pair, &routing.pair_of_row}) {
    *tensor = tensor->to(device);
  }
  return routing;
}

OpCase dispatch_case(const Case& c) {
  return {"dispatch_" + c.name, {{c.N, c.D}}, [c](Tape& tape, const std::vector<Tensor>& in) {
            return dispatch_tokens(tape, in[0], fixed_routing(c, in[0]));
          }};
}

// The weights are an input of their own.
OpCase combine_case(const Case& c) {
  const int64_t P = fixed_routing(c, DType::f64).pairs();
  return {"combine_" + c.name, {{P, c.D}, {P}}, [c](Tape& tape, const std::vector<Tensor>& in) {
            Routing routing = fixed_routing(c, in[0]);
            routing.weights = in[1];
            return combine_tokens(tape, in[0], routing);
          }};
}

std::vector<Case> cases() {
  return {{"one_token", 1, 5, 7, top_k(2, raw)},     {"one_column", 5, 3, 1, top_p(0.7, raw)},
          {"one_expert", 13, 1, 5, top_k(1, raw)},   {"top_1", 13, 4, 17, top_k(1, raw)},
          {"top_2", 13, 4, 17, top_k(2, raw)},       {"top_p", 19, 7, 16, top_p(0.7, raw)},
          {"more_experts", 2, 40, 5, top_k(3, raw)}, {"wide", 5, 4, 67, top_p(1, raw)},
          {"many", 541, 10, 61, top_p(0.7, raw)}};
}

std::vector<OpCase> op_cases() {
  std::vector<OpCase> all;
  for (const Case& c : cases()) {
    all.push_back(dispatch_case(c));
    all.push_back(combine_case(c));
  }
  return all;
}

class PermuteGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(PermuteGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

TEST_P(PermuteGradient, SinglePrecisionFollowsDouble) {
  EXPECT_LT(testing::single_precision_error(GetParam()), 1e-5);
}

TEST_P(PermuteGradient, RepeatsForAnyNumberOfThreads) {
  EXPECT_TRUE(testing::repeats_for_any_thread_count(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Cases, PermuteGradient, ::testing::ValuesIn(op_cases()),
                         testing::case_name);

TEST(PermuteCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Case& c : cases()) {
    for (const OpCase& op_case : {dispatch_case(c), combine_case(c)}) {
      EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
      EXPECT_LT(testing::cuda_bf16_error(op_case, {1}), 2e-2) << op_case.name;
    }
  }
}

// Routed, sent to the experts and back on one device, where there is room beyond the rows and,
// with row_alignment, within them.
OpCase round_trip_case(const Case& c, int64_t row_alignment) {
  return {"round_trip_" + c.name,
          {{c.N, c.D}, {c.N, c.E}},
          [c, row_alignment](Tape& tape, const std::vector<Tensor>& in) {
            RouteOptions options = c.options;
            if (in[1].device().is_cuda()) options.row_alignment = row_alignment;
            const Routing routing = route(tape, in[1], options);
            return combine_tokens(tape, dispatch_tokens(tape, in[0], routing), routing);
          },
          [c](size_t index, const Tensor& input, Random& random) {
            if (index == 1) {
              testing::fill_probabilities(input, random, c.options.p);
            } else {
              for (double& value : input.elements<double>()) value = random.normal();
            }
          }};
}

TEST(PermuteCuda, RoomForRowsIsNeverRead) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Case& c :
       {Case{"one_token", 1, 5, 7, top_p(0.7, raw)}, Case{"narrow", 13, 4, 16, top_k(2, raw)},
        Case{"top_p", 39, 7, 17, top_p(0.7, raw)}}) {
    for (const int64_t row_alignment : {1, 128}) {
      const OpCase op_case = round_trip_case(c, row_alignment);
      EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
    }
  }
}

TEST(PermuteCuda, RowsThatPadAreZerosAndTheRestIsLeftAlone) {
  OFFSHOOT_NEEDS_CUDA();
  testing::poison_storage(true);
  RouteOptions options = top_p(0.7, raw);
  options.row_alignment = 8;
  Tape tape;
  const Tensor probs = testing::random_probabilities({19, 5}, DType::f32, 5, 0.7);
  const Routing routing = route(tape, probs.to(testing::kCuda), options);
  const Tensor x = testing::random_tensor({19, 3}, DType::f32, 1).to(testing::kCuda);
  const Tensor rows = dispatch_tokens(tape, x, routing);
  const Tensor y = rows.clone();
  tape.watch(y);
  const Tensor out = combine_tokens(tape, y, routing);
  tape.backward(out, out.clone());
  const Tensor offsets = routing.expert_offsets.to(Device{});
  const Tensor tokens = routing.token_of_row.to(Device{});
  for (const Tensor& written : {rows.to(Device{}), tape.grad(y).to(Device{})}) {
    for (int64_t i = 0; i < written.size(); ++i) {
      const float value = written.data<float>()[i];
      if (i / 3 >= offsets.data<int64_t>()[5]) {
        EXPECT_TRUE(std::isnan(value)) << i;
      } else {
        EXPECT_EQ(value == 0.0f, tokens.data<int32_t>()[i / 3] < 0) << i;
      }
    }
  }
#ifndef OFFSHOOT_POISON
  testing::poison_storage(false);
#endif
}

TEST(Permute, DispatchFollowsTheRows) {
  Tape tape = Tape::none();
  const Routing routing = fixed_routing({"", 17, 5, 3, top_p(0.7, raw)}, DType::f64);
  const Tensor x = testing::random_tensor({17, 3}, DType::f64, 1);
  const Tensor out = dispatch_tokens(tape, x, routing);
  ASSERT_EQ(out.dim(0), routing.pairs());
  for (int64_t row = 0; row < routing.pairs(); ++row) {
    const int64_t token = routing.token_of_row.data<int32_t>()[row];
    for (int64_t d = 0; d < 3; ++d) {
      EXPECT_EQ(out.data<double>()[row * 3 + d], x.data<double>()[token * 3 + d]);
    }
  }
}

// With weights that sum to 1, what comes back is what was sent.
TEST(Permute, CombineUndoesDispatch) {
  Tape tape = Tape::none();
  const Routing routing = fixed_routing({"", 131, 10, 6, top_p(0.7, renormalised)}, DType::f64);
  const Tensor x = testing::random_tensor({131, 6}, DType::f64, 2);
  const Tensor back = combine_tokens(tape, dispatch_tokens(tape, x, routing), routing);
  EXPECT_LT(testing::relative_error(back, x), 1e-14);
}

// A router of one's own may keep nothing for a token.
TEST(Permute, ATokenWithoutPairsGetsZeros) {
  testing::poison_storage(true);
  Routing routing;
  routing.weights = Tensor::from<double>({2}, {2.0, 3.0});
  routing.token_offsets = Tensor::from<int64_t>({4}, {0, 1, 1, 2});
  routing.expert_of_pair = Tensor::from<int32_t>({2}, {1, 0});
  routing.expert_offsets = Tensor::from<int64_t>({3}, {0, 1, 2});
  routing.token_of_row = Tensor::from<int32_t>({2}, {2, 0});
  routing.row_of_pair = Tensor::from<int32_t>({2}, {1, 0});
  routing.pair_of_row = Tensor::from<int32_t>({2}, {1, 0});
  const Tensor x = Tensor::from<double>({3, 1}, {5.0, 7.0, 11.0});
  Tape tape;
  tape.watch(x);
  const Tensor out = combine_tokens(tape, dispatch_tokens(tape, x, routing), routing);
  EXPECT_TRUE(std::ranges::equal(out.elements<double>(), std::vector<double>{10, 0, 33}));
  tape.backward(out, Tensor::full({3, 1}, DType::f64, 1.0));
  const Tensor dx = tape.grad(x);
  EXPECT_TRUE(std::ranges::equal(dx.elements<double>(), std::vector<double>{2, 0, 3}));
#ifndef OFFSHOOT_POISON
  testing::poison_storage(false);
#endif
}

TEST(Permute, NoTokensIsLegal) {
  Tape tape;
  const Routing routing = route(tape, Tensor({0, 3}, DType::f32), top_k(2, raw));
  const Tensor x({0, 4}, DType::f32);
  tape.watch(x);
  const Tensor back = combine_tokens(tape, dispatch_tokens(tape, x, routing), routing);
  EXPECT_EQ(back.shape(), (Shape{0, 4}));
  tape.backward(back, Tensor({0, 4}, DType::f32));
}

TEST(Permute, NamesWhatIsWrong) {
  Tape tape;
  const Routing routing = fixed_routing({"", 3, 2, 1, top_k(1, raw)}, DType::f32);
  EXPECT_EQ(testing::error_text([&] {
              dispatch_tokens(tape, Tensor({4, 2}, DType::f32), routing);
            }),
            "[dispatch_tokens] x: got shape [4, 2], expected [3, 2]");
  EXPECT_EQ(testing::error_text([&] {
              combine_tokens(tape, Tensor({3, 2}, DType::f64), routing);
            }),
            "[combine_tokens] y: got f64, expected f32");
  EXPECT_EQ(testing::error_text([&] { combine_tokens(tape, Tensor({3}, DType::f32), routing); }),
            "[combine_tokens] y: got shape [3], expected 2 axes");
}

}  // namespace
}  // namespace offshoot
