#include "tests/support/top_any_run.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/router_losses.h"
#include "ops/unary.h"
#include "tests/support/golden_check.h"

namespace offshoot::testing {
namespace {

constexpr double kTolerance = 1e-9;

}  // namespace

TopAnyRun::TopAnyRun() {
  for (Parameter* p : parameters(layer_)) copy_elements(golden("init/" + p->name()), p->value());
}

void TopAnyRun::expect(const Tensor& got, const std::string& leaf) const {
  EXPECT_LT(golden_error(got, golden(leaf)), kTolerance) << leaf;
}

void TopAnyRun::expect_parameters(const std::string& part) {
  for (Parameter* p : parameters(layer_)) expect(p->value(), part + "/values/" + p->name());
}

void TopAnyRun::expect_gradients(const std::string& part) {
  for (Parameter* p : parameters(layer_)) expect(p->grad(), part + "/gradients/" + p->name());
}

void TopAnyRun::expect_moments(const std::string& part) const {
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

void TopAnyRun::backward(int64_t step) {
  struct Sink final : LayerSink {
    explicit Sink(std::function<void(const LayerRecord&)> f) : seen(std::move(f)) {}
    void add(const LayerRecord& record) override {
      routed = record.routed;
      seen(record);
    }
    std::function<void(const LayerRecord&)> seen;
    Routed routed;
  } sink([&](const LayerRecord& record) { see(step, record); });
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

void TopAnyRun::follow() {
  for (int64_t step = 0; step < setting("steps"); ++step) {
    SCOPED_TRACE(step);
    backward(step);
    if (step == setting("adapting_step")) {
      expect_parameters("before");
      expect_moments("before");
    }
    adapt(step);
    if (step == setting("adapting_step")) {
      expect_parameters("after");
      expect_gradients("after");
      expect_moments("after");
    }
    optimizer_.step(config_.get<double>("lr"));
    expect_parameters(fmt::format("step{}", step));
  }
}

}  // namespace offshoot::testing
