// What a context adds to a gate's logits.
#include "models/router.h"

#include <gtest/gtest.h>

#include <limits>
#include <numbers>

#include "engine/error.h"
#include "engine/testing/gradcheck.h"
#include "models/moe.h"
#include "tests/models/module_check.h"

namespace offshoot {
namespace {

using testing::module_gradient_error;
using testing::random_tensor;
using testing::randomise;
using testing::relative_error;
using Kind = RouteOptions::Kind;
using Offsets = std::map<std::string, std::vector<RowOffset>>;

constexpr double kLeaveOut = -std::numeric_limits<double>::infinity();

MoeOptions moe_options(double p) {
  MoeOptions options;
  options.features = 5;
  options.hidden = 3;
  options.experts = 4;
  options.route = {Kind::top_p, 1, p, CombineWeights::renormalised_if_shared};
  options.gate_bias = true;
  return options;
}

Tensor run(MoeLayer& layer, const Tensor& x, const Offsets& offsets) {
  Tape tape = Tape::none();
  Context context{tape, true, {}, offsets};
  return layer.forward(context, x);
}

TEST(RowOffsets, MinusInfinityIsAsGoodAsRemoval) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (const double p : {0.5, 1.0}) {
      MoeLayer layer(Scope{"moe", dtype, 4}, moe_options(p));
      randomise(layer, 2);
      const Tensor x = random_tensor({11, 5}, dtype, 3);
      const Tensor all = run(layer, x, {});
      const Tensor without = run(layer, x, {{"moe", {{1, kLeaveOut}}}});
      EXPECT_EQ(relative_error(run(layer, x, {}), all), 0.0);  // nothing stays behind
      layer.group().remove(1);
      EXPECT_LT(relative_error(without, run(layer, x, {})), dtype == DType::f64 ? 1e-13 : 1e-5);
      EXPECT_GT(relative_error(without, all), 1e-2);
    }
  }
}

TEST(RowOffsets, AreAddedToTheLogits) {
  MoeLayer layer(Scope{"moe", DType::f64, 4}, moe_options(0.6));
  randomise(layer, 2);
  const Tensor x = random_tensor({11, 5}, DType::f64, 3);
  const Tensor got = run(layer, x, {{"moe", {{2, 0.3}, {0, 1.5}, {2, 0.7}}}});
  const Tensor bias = parameter(layer, "moe.gate.bias").value();
  bias.data<double>()[2] += 1.0;
  bias.data<double>()[0] += 1.5;
  EXPECT_LT(relative_error(got, run(layer, x, {})), 1e-13);
}

TEST(RowOffsets, OfOtherGroupsChangeNothing) {
  MoeLayer layer(Scope{"moe", DType::f64, 4}, moe_options(0.6));
  const Tensor x = random_tensor({11, 5}, DType::f64, 3);
  EXPECT_EQ(relative_error(run(layer, x, {{"other", {{1, kLeaveOut}}}}), run(layer, x, {})), 0.0);
}

TEST(RowOffsets, GradientsFlowAroundAnExpertLeftOut) {
  MoeLayer layer(Scope{"moe", DType::f64, 4}, moe_options(0.6));
  randomise(layer, 2);
  EXPECT_LT(module_gradient_error(layer,
                                  [&](Context& context, const auto& x) {
                                    context.row_offsets = {{"moe", {{1, kLeaveOut}, {3, 0.4}}}};
                                    return layer.forward(context, x[0]);
                                  },
                                  {random_tensor({6, 5}, DType::f64, 3)}),
            1e-6);
}

TEST(RowOffsets, OutOfRangeIsAnError) {
  MoeLayer layer(Scope{"moe", DType::f64, 4}, moe_options(0.6));
  const Tensor x = random_tensor({2, 5}, DType::f64, 3);
  EXPECT_THROW(run(layer, x, {{"moe", {{4, 0.1}}}}), Error);
  EXPECT_THROW(run(layer, x, {{"moe", {{-1, 0.1}}}}), Error);
  // A softmax of nothing.
  EXPECT_THROW(
      run(layer, x, {{"moe", {{0, kLeaveOut}, {1, kLeaveOut}, {2, kLeaveOut}, {3, kLeaveOut}}}}),
      Error);
}

// A router of one's own: every token to expert 0.
class FirstOnly final : public Router {
 public:
  explicit FirstOnly(GrowthGroup& experts) : experts_(experts) {}
  Routed forward(Context& context, const Tensor& x, int64_t) override {
    const int64_t E = experts_.rows();
    Routed routed;
    routed.logits = routed.probs = Tensor::zeros({x.dim(0), E}, x.dtype());
    for (int64_t n = 0; n < x.dim(0); ++n) routed.probs.data<double>()[n * E] = 1.0;
    routed.routing = route(context.tape, routed.probs, {});
    return routed;
  }
  void each_parameter(const ParameterVisitor&) override {}

 private:
  GrowthGroup& experts_;
};

TEST(Router, AModelMayBringItsOwn) {
  MoeLayer layer(Scope{"moe", DType::f64, 4}, moe_options(0.6),
                 [](const Scope&, GrowthGroup& experts) -> std::unique_ptr<Router> {
                   return std::make_unique<FirstOnly>(experts);
                 });
  const Tensor x = random_tensor({3, 5}, DType::f64, 3);
  const Tensor before = run(layer, x, {});
  layer.group().duplicate(0);
  EXPECT_EQ(relative_error(run(layer, x, {}), before), 0.0);
  EXPECT_EQ(parameters(layer).size(), 4u);
}

}  // namespace
}  // namespace offshoot
