// Follows training runs of an independent program step by step: $OFFSHOOT_DATA/ginc/trajectory.h5,
// or another file of its layout. Methods, sizes and settings come from the file.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/json.h"
#include "tests/support/cuda_device.h"
#include "tests/support/golden.h"
#include "tools/hmm/trainer.h"

namespace offshoot {
namespace {

using testing::GoldenFile;

constexpr int64_t kSanitizedSteps = 5;

// On CUDA, whose kernels may be emulated: three expansions and a kept probe of `mass`.
constexpr int64_t kCudaSteps = 26;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

struct Tolerance {
  double loss, gradient, weight, decision;
};
constexpr Tolerance kDouble{1e-9, 1e-9, 1e-7, 1e-6};

std::string trajectory_path() {
  const char* data = std::getenv("OFFSHOOT_DATA");
  return data == nullptr ? "" : std::string(data) + "/ginc/trajectory.h5";
}

// One run of the file.
class Followed {
 public:
  Followed(const GoldenFile& file, std::string name, DType precision, Device device = {})
      : file_(file),
        name_(std::move(name)),
        config_(Json::parse(file.config("/" + name_), name_)),
        trainer_(options(precision, device)) {
    for (Parameter* parameter : parameters(trainer_.model())) {
      copy_elements(table("init", parameter->name(), precision), parameter->value());
    }
    batches_ = file.tensor(path("batches"));
    for (const char* column : {"losses", "learning_rates", "experts_after_step"}) {
      columns_[column] = file.tensor(path(column));
    }
    if (file.contains(path("active_experts"))) {
      columns_["active_experts"] = file.tensor(path("active_experts"));
    }
    if (file.has_attribute("/" + name_, "events")) {
      events_ = Json::parse(file.text("/" + name_, "events"), name_);
    }
    for (int64_t id = 0; id < config_.get<int64_t>("experts"); ++id) living_.push_back(id);
  }

  int64_t steps() const { return batches_.dim(0); }
  // Where a shortened run may end: behind the first expansion.
  int64_t first_expansion() const {
    for (const Json& event : events_.is_null() ? Json::Array{} : events_.elements()) {
      if (event.get<std::string>("op") == "expand") return event.get<int64_t>("step") + 1;
    }
    return 0;
  }
  std::string method() const { return config_.get<std::string>("method"); }
  bool is_top_1() const { return config_.contains("topk") && config_.get<int64_t>("topk") == 1; }

  // Trains `count` steps; compares losses, active experts and the pool's size at every one, the
  // first gradients, and the decisions.
  void follow(int64_t count, const Tolerance& tolerance) {
    const int64_t per_step = batches_.size() / steps();
    for (int64_t step = 0; step < count; ++step) {
      SCOPED_TRACE(fmt::format("{} step {}", name_, step));
      const Tensor tokens =
          batches_.rows(step, 1).view({batches_.dim(1), per_step / batches_.dim(1)});
      const StepResult result = trainer_.step(tokens, column("learning_rates", step));
      ASSERT_NEAR(result.loss, column("losses", step), tolerance.loss);
      if (columns_.contains("active_experts") && tolerance.gradient > 0) {
        EXPECT_NEAR(result.active_experts, column("active_experts", step), 1e-12);
      }
      if (step == 0 && tolerance.gradient > 0) expect_first_gradients(tolerance.gradient);
      if (method() == "dense") continue;
      ASSERT_EQ(static_cast<double>(result.experts.at(0)), column("experts_after_step", step));
      for (const GrowthEvent& event : result.events) expect_event(event, tolerance.decision);
      if (::testing::Test::HasFatalFailure()) return;
    }
    if (method() == "mass" && count == steps()) {
      EXPECT_EQ(static_cast<int64_t>(next_event_), events_.size()) << "decisions were missed";
    }
  }

  void expect_final_weights(double tolerance) {
    for (Parameter* parameter : parameters(trainer_.model())) {
      const Tensor expected = table("final", parameter->name(), DType::f64);
      EXPECT_LT(relative_error(parameter->value(), expected), tolerance)
          << name_ << " " << parameter->name();
    }
  }

 private:
  std::string path(const std::string& leaf) const { return "/" + name_ + "/" + leaf; }
  double column(const std::string& name, int64_t step) const {
    const Tensor& values = columns_.at(name);
    return values.rows(step, 1).item();
  }

  // The file has one block and calls it "block".
  Tensor table(const std::string& group, std::string parameter, DType dtype) const {
    const std::string ours = "blocks.0.";
    if (parameter.starts_with(ours)) parameter = "block." + parameter.substr(ours.size());
    return file_.tensor(path(group) + "/" + parameter, dtype);
  }

  static double relative_error(const Tensor& got, const Tensor& expected) {
    if (got.shape() != expected.shape()) return HUGE_VAL;
    double error = 0, scale = 1e-300;
    for (int64_t i = 0; i < got.size(); ++i) {
      const double a = got.data<double>()[i], b = expected.data<double>()[i];
      error = std::max(error, std::isfinite(a) ? std::abs(a - b) : HUGE_VAL);
      scale = std::max(scale, std::abs(b));
    }
    return error / scale;
  }

  void expect_first_gradients(double tolerance) {
    for (Parameter* parameter : parameters(trainer_.model())) {
      Tensor got = parameter->grad(),
             expected = table("gradients_step0", parameter->name(), DType::f64);
      if (parameter->name().ends_with("qkv.bias")) {
        // The key bias' gradient is exactly zero: its noise is held against the query bias'.
        const int64_t d = got.size() / 3;
        for (int64_t i = d; i < 2 * d; ++i) {
          EXPECT_LT(std::abs(got.data<double>()[i]), 1e-6 * largest(expected.rows(0, d)));
        }
        got = got.clone();
        std::fill_n(got.data<double>() + d, d, 0.0);
        expected = expected.clone();
        std::fill_n(expected.data<double>() + d, d, 0.0);
      }
      EXPECT_LT(relative_error(got, expected), tolerance) << parameter->name();
    }
  }

  static double largest(const Tensor& tensor) {
    double scale = 0;
    for (const double value : tensor.elements<double>()) scale = std::max(scale, std::abs(value));
    return scale;
  }

  // Experts count by age among the living.
  int64_t age_of(int64_t id) const {
    return std::ranges::count_if(living_, [id](int64_t other) { return other < id; });
  }

  void expect_event(const GrowthEvent& event, double tolerance) {
    ASSERT_LT(static_cast<int64_t>(next_event_), events_.size()) << to_string(event.kind);
    const Json& expected = events_.elements()[next_event_++];
    ASSERT_EQ(to_string(event.kind), expected.get<std::string>("op"));
    EXPECT_EQ(event.step, expected.get<int64_t>("step"));
    if (event.kind == GrowthEvent::Kind::expand) {
      EXPECT_EQ(age_of(event.source), expected.get<int64_t>("src"));
      living_.push_back(event.created);
      EXPECT_EQ(age_of(event.created), expected.get<int64_t>("dst"));
      EXPECT_NEAR(event.p_value, expected.get<double>("p"), tolerance);
      EXPECT_NEAR(event.cosine, expected.get<double>("cos"), tolerance);
    } else {
      EXPECT_NEAR(event.gain, expected.get<double>("gap"), tolerance);
      if (expected.contains("expert")) {
        EXPECT_EQ(age_of(event.source), expected.get<int64_t>("expert"));
      }
      if (event.kind != GrowthEvent::Kind::keep) std::erase(living_, event.source);
    }
    if (expected.contains("K")) {
      EXPECT_EQ(event.experts, expected.get<int64_t>("K"));
    }
  }

  RouteOptions route_options() const {
    RouteOptions route;
    if (method() == "topk") {
      route.kind = RouteOptions::Kind::top_k;
      route.k = config_.get<int64_t>("topk");
      route.weights = route.k == 1 ? CombineWeights::raw : CombineWeights::renormalised;
      return route;
    }
    route.kind = RouteOptions::Kind::top_p;
    route.p = config_.get<double>("p");
    const bool paper = config_.contains("preset") && config_.get<std::string>("preset") == "paper";
    route.weights = paper ? CombineWeights::raw : CombineWeights::renormalised_if_shared;
    return route;
  }

  MassOptions options_of_mass() const {
    const MassPreset preset = parse_mass_preset(config_.get<std::string>("preset"));
    MassOptions mass = mass_options(preset, config_.get<int64_t>("steps_of_schedule"));
    mass.phase_begin = config_.get<int64_t>("phase", 0);
    mass.phase_end = config_.get<int64_t>("phase", 1);
    mass.max_experts = config_.get<int64_t>("max_experts");
    mass.warmup = config_.get<int64_t>("warmup");
    mass.window = config_.get<int64_t>("window");
    mass.alpha = config_.get<double>("alpha");
    mass.delta = config_.get<double>("delta");
    mass.patience = config_.get<int64_t>("patience");
    mass.min_expansions = config_.get<int64_t>("nll_min");
    mass.redundancy_weight = config_.get<double>("lred");
    return mass;
  }

  TrainerOptions options(DType precision, Device device) const {
    TrainerOptions options;
    options.device = device;
    options.precision = precision;
    options.weight_decay = config_.get<double>("weight_decay");
    options.adam.beta1 = config_.get<double>("betas", 0);
    options.adam.beta2 = config_.get<double>("betas", 1);
    options.adam.eps = config_.get<double>("eps");
    options.model.vocabulary = file_.tensor(path("init/embedding.weight")).dim(0);
    options.model.context_length = config_.get<int64_t>("seq");
    options.model.features = config_.get<int64_t>("d_model");
    options.model.heads = config_.get<int64_t>("heads");
    options.model.dense_hidden = config_.get<int64_t>("hidden");
    if (method() == "dense") return options;
    MoeOptions moe;
    moe.hidden = config_.get<int64_t>("hidden");
    moe.experts = config_.get<int64_t>("experts");
    if (method() != "dynmoe") moe.route = route_options();
    if (method() == "mass") options.policy = {.kind = PolicyKind::mass, .mass = options_of_mass()};
    if (method() == "dynmoe") {
      moe.router = RouterKind::top_any;
      moe.learn_temperature = false;
      options.losses.diversity = config_.get<double>("aux");
    }
    options.model.moe = moe;
    return options;
  }

  const GoldenFile& file_;
  std::string name_;
  Json config_;
  Trainer trainer_;
  Tensor batches_;
  std::map<std::string, Tensor> columns_;
  Json events_;
  size_t next_event_ = 0;
  std::vector<int64_t> living_;
};

// The runs whose method this program has.
std::vector<std::string> runs_of(const GoldenFile& file) {
  std::vector<std::string> runs;
  for (const std::string& name : file.names("/")) {
    const Json config = Json::parse(file.config("/" + name), name);
    const std::string method = config.get<std::string>("method");
    const bool known = method == "dense" || method == "topk" || method == "topp" ||
                       method == "mass" || method == "dynmoe";
    if (known) runs.push_back(name);
  }
  return runs;
}

int64_t steps_to_follow(const Followed& run) {
  if (const char* steps = std::getenv("OFFSHOOT_TRAJECTORY_STEPS")) {
    const int64_t count = std::strtoll(steps, nullptr, 10);
    if (count < 1) fail("OFFSHOOT_TRAJECTORY_STEPS", "got {}, expected at least 1", steps);
    return std::min(run.steps(), count);
  }
  if (!kSanitized) return run.steps();
  return std::min(run.steps(), std::max(kSanitizedSteps, run.first_expansion()));
}

class Trajectory : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = trajectory_path();
    if (path.empty() || !std::filesystem::exists(path)) {
      GTEST_SKIP() << "needs $OFFSHOOT_DATA/ginc/trajectory.h5";
    }
    file_ = std::make_unique<GoldenFile>(path);
    ASSERT_FALSE(runs_of(*file_).empty()) << path;
  }

  std::unique_ptr<GoldenFile> file_;
};

TEST_F(Trajectory, DoublePrecisionIsTheSameProgram) {
  for (const std::string& name : runs_of(*file_)) {
    Followed run(*file_, name, DType::f64);
    const int64_t steps = steps_to_follow(run);
    run.follow(steps, kDouble);
    if (steps == run.steps()) run.expect_final_weights(kDouble.weight);
  }
}

TEST_F(Trajectory, SinglePrecisionStaysNear) {
  for (const std::string& name : runs_of(*file_)) {
    Followed run(*file_, name, DType::f32);
    // A token's choice of its only expert flips after about 20 steps.
    const int64_t steps =
        run.is_top_1() ? std::min<int64_t>(20, steps_to_follow(run)) : steps_to_follow(run);
    run.follow(steps, {1e-4, 0, 0, 1e-3});
  }
}

// The same program on another device: float32 against the file's float64.
using TrajectoryCuda = Trajectory;

TEST_F(TrajectoryCuda, SinglePrecisionStaysNear) {
  OFFSHOOT_NEEDS_CUDA();
  for (const std::string& name : runs_of(*file_)) {
    Followed run(*file_, name, DType::f32, testing::kCuda);
    if (run.is_top_1()) continue;
    run.follow(std::min(kCudaSteps, steps_to_follow(run)), {1e-4, 0, 0, 1e-3});
  }
}

}  // namespace
}  // namespace offshoot
