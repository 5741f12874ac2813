#include "ops/orthogonality_loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/binary.h"
#include "ops/permute.h"
#include "ops/route_any.h"
#include "ops/rows.h"
#include "tests/ops/op_check.h"
#include "tests/ops/random_routing.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::GoldenCase;
using testing::OpCase;

struct Case {
  std::string name;
  int64_t N, E, D;
  double threshold;  // experts with a score in (0, 1) above it are kept
};

// Some experts have no tokens, some tokens no experts, some many.
Routing some_routing(const Case& c, Device device, int64_t row_alignment) {
  Tape none = Tape::none();
  const Tensor scores({c.N, c.E}, DType::f32);
  Random random(4, stream_of("orthogonality"));
  for (int64_t i = 0; i < scores.size(); ++i) {
    const bool is_empty = c.N > 2 && (i / c.E == 1 || i % c.E == 2);
    scores.data<float>()[i] = is_empty ? 0.0f : static_cast<float>(random.uniform());
  }
  const Tensor thresholds = Tensor::full({c.E}, DType::f32, c.threshold);
  return route_any(none, scores.to(device), thresholds.to(device),
                   {.row_alignment = row_alignment});
}

std::vector<Case> cases() {
  return {{"one_token", 1, 5, 7, 0.0},      {"one_expert", 7, 1, 5, 0.5},
          {"one_column", 7, 4, 1, 0.5},     {"some", 13, 5, 17, 0.5},
          {"few", 13, 5, 17, 0.9},          {"wide", 3, 4, 1031, 0.3},
          {"many_experts", 3, 257, 5, 0.8}, {"many_tokens", 263, 6, 11, 0.6}};
}

OpCase loss_case(const Case& c) {
  const int64_t P = some_routing(c, Device{}, 1).pairs();
  return {c.name, {{P, c.D}}, [c](Tape& tape, const std::vector<Tensor>& in) {
            return orthogonality_loss(tape, in[0], some_routing(c, Device{}, 1));
          }};
}

// The expert of each row, on the device of the routing; -1 in rows that pad and beyond.
Tensor expert_of_row(const Routing& routing) {
  const Tensor experts = Tensor::full({routing.rows()}, DType::i64, -1);
  const Tensor offsets = routing.expert_offsets.to(Device{});
  const Tensor counts = routing.tokens_per_expert.to(Device{});
  for (int64_t e = 0; e < routing.experts(); ++e) {
    std::fill_n(experts.data<int64_t>() + offsets.data<int64_t>()[e], counts.data<int64_t>()[e], e);
  }
  return experts.to(routing.token_offsets.device());
}

// y = a token's x times the expert's w: rows that fit any alignment, NaN where no pair is.
OpCase experts_case(const Case& c) {
  return {c.name, {{c.N, c.D}, {c.E, c.D}}, [c](Tape& tape, const std::vector<Tensor>& in) {
            const Device device = in[0].device();
            const Routing routing = some_routing(c, device, device.is_cuda() ? 8 : 1);
            const Tensor y = mul(tape, dispatch_tokens(tape, in[0], routing),
                                 gather_rows(tape, in[1], expert_of_row(routing)));
            return orthogonality_loss(tape, y, routing);
          }};
}

TEST(OrthogonalityLoss, GradientsMatchCentralDifferences) {
  for (const Case& c : cases()) {
    EXPECT_LT(testing::gradient_error(loss_case(c)), 1e-6) << c.name;
  }
}

TEST(OrthogonalityLoss, MatchesGoldenValues) {
  testing::expect_matches_golden(
      testing::GoldenFile("routers.h5"), "orthogonality_loss",
      [](Tape& tape, const GoldenCase& golden) {
        Tape none = Tape::none();
        const Routing routing =
            route(none, golden["probs"], testing::top_k(golden.integer("k"), CombineWeights::raw));
        return orthogonality_loss(tape, golden["y"], routing);
      });
}

TEST(OrthogonalityLoss, SinglePrecisionFollowsDoubleAndRepeats) {
  const OpCase op_case = loss_case({"long", 1031, 7, 33, 0.6});
  EXPECT_LT(testing::single_precision_error(op_case), 1e-5);
  EXPECT_TRUE(testing::repeats_for_any_thread_count(op_case));
}

TEST(OrthogonalityLoss, OrthogonalRowsAndZerosCostNothing) {
  Tape none = Tape::none();
  const Tensor probs = Tensor::full({1, 3}, DType::f64, 1.0 / 3);
  const Routing routing = route(none, probs, testing::top_k(3, CombineWeights::raw));
  const Tensor y = Tensor::from<double>({3, 2}, {2, 0, 0, 3, 0, 0});
  Tape tape;
  tape.watch(y);
  const Tensor loss = orthogonality_loss(tape, y, routing);
  EXPECT_EQ(loss.item(), 0);
  tape.backward(loss);
  const Tensor grad = tape.grad(y);
  for (const double g : grad.elements<double>()) EXPECT_EQ(g, 0);
}

// Two equal rows: each projected onto the other is itself.
TEST(OrthogonalityLoss, OfEqualRowsIsTheirSquares) {
  Tape tape = Tape::none();
  const Tensor probs = Tensor::from<double>({2, 2}, {0.75, 0.25, 0.25, 0.75});
  const Routing routing = route(tape, probs, testing::top_k(2, CombineWeights::raw));
  const Tensor y = Tensor::from<double>({4, 2}, {3, 4, 0, 0, 3, 4, 0, 0});
  EXPECT_NEAR(orthogonality_loss(tape, y, routing).item(), (25 + 25) / 2.0, 1e-6);
}

TEST(OrthogonalityLossCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const Case& c : cases()) {
    EXPECT_LT(testing::cuda_error(experts_case(c)), 1e-4) << c.name;
    EXPECT_LT(testing::cuda_bf16_error(experts_case(c)), 3e-2) << c.name;
  }
}

TEST(OrthogonalityLossCuda, RowsThatPadAreZerosAndTheRestIsLeftAlone) {
  OFFSHOOT_NEEDS_CUDA();
  const Case c{"some", 13, 5, 17, 0.5};
  const Routing routing = some_routing(c, testing::kCuda, 8), cpu = to_cpu(routing);
  const Tensor pairs = routing.pair_of_row.to(Device{});
  const Tensor offsets = routing.expert_offsets.to(Device{});
  const int64_t rows = offsets.elements<int64_t>().back();
  const Tensor y = testing::random_tensor({cpu.pairs(), c.D}, DType::f32, 2);
  // NaN wherever no pair is.
  Tensor there = Tensor::full({routing.rows(), c.D}, DType::f32, NAN);
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t pair = pairs.data<int32_t>()[row];
    if (pair < 0) continue;
    copy_elements(y.rows(cpu.row_of_pair.data<int32_t>()[pair], 1), there.rows(row, 1));
  }
  there = there.to(testing::kCuda);
  Tape tape, cpu_tape;
  tape.watch(there);
  cpu_tape.watch(y);
  const Tensor loss = orthogonality_loss(tape, there, routing);
  const Tensor expected = orthogonality_loss(cpu_tape, y, cpu);
  EXPECT_NEAR(loss.item(), expected.item(), 1e-5 * expected.item());
  tape.backward(loss);
  cpu_tape.backward(expected);
  const Tensor grad = tape.grad(there).to(Device{}), cpu_grad = cpu_tape.grad(y);
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t pair = pairs.data<int32_t>()[row];
    for (int64_t d = 0; d < c.D; ++d) {
      const float got = grad.data<float>()[row * c.D + d];
      const int64_t cpu_row = pair < 0 ? 0 : cpu.row_of_pair.data<int32_t>()[pair];
      EXPECT_NEAR(got, pair < 0 ? 0.0f : cpu_grad.data<float>()[cpu_row * c.D + d], 1e-4);
    }
  }
}

TEST(OrthogonalityLoss, NamesWhatIsWrong) {
  Tape tape;
  const Tensor probs = Tensor::full({2, 2}, DType::f32, 0.5), none({0, 2}, DType::f32);
  const auto text = [&](const Tensor& r, const Shape& shape) {
    const Routing routing = route(tape, r, testing::top_k(1, CombineWeights::raw));
    return testing::error_text(
        [&] { orthogonality_loss(tape, Tensor::zeros(shape, DType::f32), routing); });
  };
  EXPECT_EQ(text(probs, {3, 4}), "[orthogonality_loss] y: got shape [3, 4], expected [2, 4]");
  EXPECT_EQ(text(probs, {4}), "[orthogonality_loss] y: got shape [4], expected 2 axes");
  EXPECT_EQ(text(none, {0, 4}),
            "[orthogonality_loss] routing: got no token, expected at least one");
}

}  // namespace
}  // namespace offshoot
