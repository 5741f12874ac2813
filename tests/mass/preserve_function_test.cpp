// A split that leaves the layer's output as it was: ln 2 off both gate logits.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "engine/testing/gradcheck.h"
#include "mass/controller.h"

namespace offshoot {
namespace {

using testing::random_tensor;
using testing::relative_error;
using Offsets = std::map<std::string, std::vector<RowOffset>>;

constexpr int64_t kTokens = 64, kFeatures = 6;

// A layer of four whose oldest expert splits in every step from the second on.
class Splitting {
 public:
  Splitting(double p, CombineWeights weights, bool preserve_function)
      : layer_(Scope{"moe", DType::f64, 8}, moe_options(p, weights)),
        controller_({&layer_}, mass_options_(preserve_function)),
        x_(random_tensor({kTokens, kFeatures}, DType::f64, 5)) {
    for (Parameter* p_ : parameters(layer_)) {
      copy_elements(random_tensor(p_->value().shape(), DType::f64, stream_of(p_->name())),
                    p_->value());
    }
    step({});
  }

  Tensor out(const Offsets& offsets = {}) {
    Tape tape = Tape::none();
    Context context{tape, true, {}, offsets};
    return layer_.forward(context, x_);
  }
  // A probe, if there is one, returns `gain` above the task loss.
  void step(std::optional<double> gain) {
    const auto probe = [&](const Offsets& offsets, bool) {
      probed_ = out(offsets);
      return 1.0 + gain.value();
    };
    const std::vector<int64_t> tokens(static_cast<size_t>(layer_.experts()), 1);
    controller_.grow(step_++, {tokens}, 1.0, probe);
  }
  MoeLayer& layer() { return layer_; }
  const Tensor& probed() const { return probed_; }

 private:
  static MoeOptions moe_options(double p, CombineWeights weights) {
    MoeOptions options;
    options.features = kFeatures;
    options.hidden = 5;
    options.experts = 4;
    options.route = {RouteOptions::Kind::top_p, 1, p, weights};
    options.gate_bias = true;
    return options;
  }
  static MassOptions mass_options_(bool preserve_function) {
    MassOptions options = mass_options(MassPreset::paper, 1000);
    options.change_point = false;
    options.alignment = false;
    options.warmup = 1;
    options.window = 2;
    options.patience = 1;
    options.preserve_function = preserve_function;
    return options;
  }

  MoeLayer layer_;
  MassController controller_;
  Tensor x_, probed_;
  int64_t step_ = 0;
};

TEST(PreserveFunction, ASplitLeavesTheOutputWhenAllExpertsAreKept) {
  for (const CombineWeights weights :
       {CombineWeights::raw, CombineWeights::renormalised_if_shared}) {
    Splitting split(1.0, weights, true), plain(1.0, weights, false);
    const Tensor before = split.out();
    for (Splitting* each : {&split, &plain}) each->step({});
    ASSERT_EQ(split.layer().experts(), 5);
    EXPECT_LT(relative_error(split.out(), before), 1e-14);
    EXPECT_GT(relative_error(plain.out(), before), 1e-2);
    split.step(0.5);  // the same expert again
    ASSERT_EQ(split.layer().experts(), 6);
    EXPECT_LT(relative_error(split.out(), before), 1e-14);
  }
}

// The kept set is chosen among halves: largest change of an output in units of the largest output.
TEST(PreserveFunction, WithTopPTheKeptSetDiffers) {
  Splitting split(0.5, CombineWeights::raw, true), plain(0.5, CombineWeights::raw, false);
  const Tensor before = split.out();
  for (Splitting* each : {&split, &plain}) each->step({});
  const double preserved = relative_error(split.out(), before);
  const double changed = relative_error(plain.out(), before);
  RecordProperty("preserved", fmt::format("{}", preserved));
  RecordProperty("changed", fmt::format("{}", changed));
  EXPECT_NEAR(preserved, 0.2010, 1e-3);
  EXPECT_NEAR(changed, 0.2117, 1e-3);
}

TEST(PreserveFunction, AProbeGivesThePartnerItsHalfBack) {
  for (const double p : {0.5, 1.0}) {
    Splitting split(p, CombineWeights::raw, true);
    const Tensor before = split.out();
    split.step({});
    const Tensor bias = parameter(split.layer(), "moe.gate.bias").value();
    const Tensor four = split.out();
    split.step(0.5);
    EXPECT_LT(relative_error(split.probed(), before), 1e-14);  // as if expert 4 had never been
    split.step(0.5);
    // Without the newest one: the layer of two splits, whose output is the first one's at p = 1.
    if (p == 1) {
      EXPECT_LT(relative_error(split.probed(), before), 1e-14);
    }
  }
}

TEST(PreserveFunction, RemovalGivesItBackForGood) {
  Splitting split(0.5, CombineWeights::raw, true);
  const Tensor before = split.out();
  const Tensor bias = parameter(split.layer(), "moe.gate.bias").value().clone();
  split.step({});
  ASSERT_EQ(split.layer().experts(), 5);
  // No gain: expert 4 goes; then expert 0 splits again into 0 and 5.
  split.step(-0.5);
  ASSERT_EQ(split.layer().group().ids(), (std::vector<int64_t>{0, 1, 2, 3, 5}));
  const Tensor now = parameter(split.layer(), "moe.gate.bias").value();
  const double half = bias.data<double>()[0] - std::log(2.0);
  EXPECT_NEAR(now.data<double>()[0], half, 1e-15);
  EXPECT_NEAR(now.data<double>()[4], half, 1e-15);
  for (int64_t row = 1; row < 4; ++row) {
    EXPECT_EQ(now.data<double>()[row], bias.data<double>()[row]);
  }
}

}  // namespace
}  // namespace offshoot
