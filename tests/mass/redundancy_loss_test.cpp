#include "mass/redundancy_loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"
#include "tests/mass/fake_pools.h"

namespace offshoot {
namespace {

using testing::cosine_decides;
using testing::FakePools;
using testing::OpCase;
using Pairs = std::vector<std::pair<int64_t, int64_t>>;

const Pairs kPairs = {{0, 2}, {2, 3}, {0, 4}};

double cosine(const Tensor& gate, int64_t i, int64_t j) {
  const int64_t D = gate.dim(1);
  const double *a = gate.data<double>() + i * D, *b = gate.data<double>() + j * D;
  double ab = 0, aa = 0, bb = 0;
  for (int64_t d = 0; d < D; ++d) ab += a[d] * b[d], aa += a[d] * a[d], bb += b[d] * b[d];
  return ab / std::sqrt(aa * bb);
}

TEST(RedundancyLoss, SquaredCosinesSummedOrMeant) {
  const Tensor gate = testing::random_tensor({5, 7}, DType::f64, 1);
  double sum = 0;
  for (const auto& [i, j] : kPairs) sum += std::pow(cosine(gate, i, j), 2);
  Tape tape = Tape::none();
  EXPECT_NEAR(redundancy_loss(tape, gate, kPairs, false).item(), sum, 1e-14);
  EXPECT_NEAR(redundancy_loss(tape, gate, kPairs, true).item(), sum / 3, 1e-14);
  EXPECT_EQ(redundancy_loss(tape, gate, {}, true).item(), 0.0);
  EXPECT_THROW(redundancy_loss(tape, gate, {{0, 5}}, true), Error);
}

TEST(RedundancyLoss, GradientThroughBothRows) {
  for (const bool mean : {false, true}) {
    const OpCase op_case{"pairs", {{5, 7}}, [mean](Tape& tape, const std::vector<Tensor>& in) {
                           return redundancy_loss(tape, in[0], kPairs, mean);
                         }};
    EXPECT_LT(testing::gradient_error(op_case), 1e-6);
  }
}

// Pools with pairs (1, 2) and (1, 3), and after them a gradient of ones in the gate.
struct Paired {
  explicit Paired(const MassOptions& options) : pools(options, 2) {
    pools.drift({{}});
    pools.drift({{1}});
    pools.drift({{1}}, std::vector<double>(options.min_expansions == 0 ? 1 : 0, 0.5));
    gate = parameter(pools.layer(), "a.gate.weight").value();
    copy_elements(testing::random_tensor(gate.shape(), DType::f64, 3), gate);
    grad = parameter(pools.layer(), "a.gate.weight").gradient_slot().grad;
    for (double& g : grad.elements<double>()) g = 1.0;
  }
  double sum() const { return std::pow(cosine(gate, 1, 2), 2) + std::pow(cosine(gate, 1, 3), 2); }

  FakePools pools;
  Tensor gate, grad;
};

TEST(RedundancyLoss, IsAddedToTheGatesGradient) {
  for (const MassPreset preset : {MassPreset::paper, MassPreset::reference}) {
    const MassOptions options = cosine_decides(preset);
    Paired paired(options);
    ASSERT_EQ(paired.pools.layer().experts(), 4);
    const double share = preset == MassPreset::paper ? 0.5 : 1.0;
    EXPECT_NEAR(paired.pools.controller().auxiliary_backward(3).item(), 0.01 * share * paired.sum(),
                1e-15);
    Tape tape;
    tape.watch(paired.gate);
    tape.backward(
        redundancy_loss(tape, paired.gate, {{1, 2}, {1, 3}}, preset == MassPreset::paper));
    const Tensor expected = tape.grad(paired.gate);
    for (int64_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(paired.grad.data<double>()[i], 1 + 0.01 * expected.data<double>()[i], 1e-15);
    }
  }
}

TEST(RedundancyLoss, ReferenceHasItInThePhaseOnlyAfterAStopToo) {
  MassOptions options = cosine_decides(MassPreset::reference);
  options.max_experts = 4;
  Paired paired(options);
  paired.pools.drift({{}});
  ASSERT_TRUE(paired.pools.controller().state(0).stopped);
  EXPECT_GT(paired.pools.controller().auxiliary_backward(options.phase_end - 1).item(), 0.0);
  EXPECT_EQ(paired.pools.controller().auxiliary_backward(options.phase_end).item(), 0.0);
}

TEST(RedundancyLoss, PaperHasItInTheWholeTraining) {
  const MassOptions options = cosine_decides(MassPreset::paper);
  Paired paired(options);
  EXPECT_GT(paired.pools.controller().auxiliary_backward(options.phase_end + 100).item(), 0.0);
}

TEST(RedundancyLoss, WithoutPairsOrWeightNothingIsDone) {
  MassOptions options = cosine_decides(MassPreset::paper);
  FakePools none(options, 2);
  const Parameter& gate = parameter(none.layer(), "a.gate.weight");
  EXPECT_EQ(none.controller().auxiliary_backward(0).item(), 0.0);
  EXPECT_FALSE(gate.has_grad());
  options.redundancy_weight = 0;
  Paired silent(options);
  EXPECT_EQ(silent.pools.controller().auxiliary_backward(3).item(), 0.0);
}

// Both gate rows are equal then: the loss is at its largest, its gradient zero.
TEST(RedundancyLoss, HasNoGradientAtTheMomentOfDuplication) {
  FakePools pools(cosine_decides(MassPreset::reference), 2);
  pools.drift({{}});
  pools.drift({{1}});
  Parameter& gate = parameter(pools.layer(), "a.gate.weight");
  gate.zero_grad();
  EXPECT_NEAR(pools.controller().auxiliary_backward(1).item(), 0.01, 1e-15);
  const Tensor grad = gate.grad();
  for (const double g : grad.elements<double>()) EXPECT_NEAR(g, 0.0, 1e-15);
}

}  // namespace
}  // namespace offshoot
