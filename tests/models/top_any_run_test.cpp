// Training with top-any routing in which an expert goes and one comes, step by step against PyTorch
// (tests/golden/top_any_run.py).
#include <gtest/gtest.h>

#include "engine/json.h"
#include "models/layer_record.h"
#include "models/moe.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/router_losses.h"
#include "ops/unary.h"
#include "optim/adam.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::golden_error;
using testing::GoldenFile;

constexpr double kTolerance = 1e-9;

class TopAnyRun : public ::testing::TestWithParam<std::string> {
 protected:
  TopAnyRun() {
    for (Parameter* p : parameters(layer_)) copy_elements(golden("init/" + p->name()), p->value());
  }

  std::string path(const std::string& leaf) const {
    return "/adaptation/" + GetParam() + "/" + leaf;
  }
  Tensor golden(const std::string& leaf) const { return file_.tensor(path(leaf)); }

  void expect(const Tensor& got, const std::string& leaf) const {
    EXPECT_LT(golden_error(got, golden(leaf)), kTolerance) << leaf;
  }
  void expect_parameters(const std::string& part) {
    for (Parameter* p : parameters(layer_)) expect(p->value(), part + "/values/" + p->name());
  }
  void expect_gradients(const std::string& part) {
    for (Parameter* p : parameters(layer_)) expect(p->grad(), part + "/gradients/" + p->name());
  }
  void expect_moments(const std::string& part) const {
    optimizer_.each_state([&](const std::string& name, const Tensor& state) {
      const size_t slash = name.rfind('/');
      const std::string parameter = name.substr(0, slash), kind = name.substr(slash + 1);
      if (kind != "step") return expect(state, part + "/" + kind + "/" + parameter);
      if (parameter == "gate.temperature") return;
      const Tensor expected = golden(part + "/step");
      ASSERT_EQ(state.shape(), expected.shape());
      EXPECT_TRUE(std::ranges::equal(state.elements<int64_t>(), expected.elements<int64_t>()));
    });
  }

  void backward(int64_t step) {
    struct Sink final : LayerSink {
      void add(const LayerRecord& record) override { routed = record.routed; }
      Routed routed;
    } sink;
    const std::string part = fmt::format("step{}", step);
    const Shape shape{config_.get<int64_t>("tokens"), config_.get<int64_t>("features")};
    Tape tape;
    Context context{tape, true, {}, {}, &sink};
    const Tensor y = layer_.forward(context, golden("x").rows(step, 1).view(shape));
    const Tensor target = golden("target").rows(step, 1).view(shape);
    const Tensor loss = mean(tape, square(tape, sub(tape, y, target)));
    const Tensor auxiliary = diversity_loss(tape, tape.watch(*layer_.router().expert_rows()));
    optimizer_.zero_grad();
    tape.backward(add(tape, loss, scale(tape, auxiliary, config_.get<double>("auxiliary"))));
    expect(loss, part + "/loss");
    expect(auxiliary, part + "/auxiliary");
    expect(sink.routed.probs, part + "/scores");
    const Tensor active = golden(part + "/active");
    const int64_t* offsets = sink.routed.routing.token_offsets.data<int64_t>();
    for (int64_t n = 0; n < active.size(); ++n) {
      EXPECT_EQ(offsets[n + 1] - offsets[n], active.data<int32_t>()[n]);
    }
    expect_gradients(part);
  }

  // By hand what a policy does.
  void adapt() {
    const auto removed = config_.get<int64_t>("removed_row");
    if (removed >= 0) layer_.group().remove(removed);
    if (config_.get<int64_t>("added") == 0) return;
    layer_.group().append(1, [this](std::string_view member, const Tensor& rows) {
      const std::string fresh = fmt::format("fresh/{}", member);
      if (file_.contains(path(fresh))) copy_elements(golden(fresh).view(rows.shape()), rows);
      if (member != "gate.weight") return;
      const Tensor sum = golden("unrouted");
      double square = 0;
      for (const double v : sum.elements<double>()) square += v * v;
      for (int64_t d = 0; d < rows.size(); ++d) {
        rows.data<double>()[d] = sum.data<double>()[d] / std::sqrt(square);
      }
    });
  }

  const GoldenFile file_{"routers_models.h5"};
  const Json config_ = Json::parse(file_.config("/adaptation/" + GetParam()));
  MoeLayer layer_{Scope{"", DType::f64, 0},
                  {.features = config_.get<int64_t>("features"),
                   .hidden = config_.get<int64_t>("hidden"),
                   .experts = config_.get<int64_t>("experts"),
                   .router = RouterKind::top_any,
                   .learn_temperature = config_.get<int64_t>("temperature") != 0}};
  AdamW optimizer_{decay_matrices_only(layer_, config_.get<double>("weight_decay"))};
};

TEST_P(TopAnyRun, FollowsPyTorch) {
  for (int64_t step = 0; step < config_.get<int64_t>("steps"); ++step) {
    SCOPED_TRACE(step);
    backward(step);
    if (step == config_.get<int64_t>("adapting_step")) {
      expect_parameters("before");
      expect_moments("before");
      adapt();
      expect_parameters("after");
      expect_gradients("after");
      expect_moments("after");
    }
    optimizer_.step(config_.get<double>("lr"));
    expect_parameters(fmt::format("step{}", step));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, TopAnyRun, ::testing::Values("add", "remove", "remove_and_add"));

}  // namespace
}  // namespace offshoot
