// Optimizers on a CUDA device, against the same ones on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "engine/error.h"
#include "engine/growable_buffer.h"
#include "optim/adam.h"
#include "optim/clip.h"
#include "optim/sgd.h"
#include "tests/optim/twins.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

using testing::kCuda;
using testing::kTwinRate;
using testing::Twin;
using testing::twin_error;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class Kind, class Options>
void expect_follows_the_cpu(const Options& options) {
  Twin<Kind> cpu({}, options), cuda(kCuda, options);
  EXPECT_EQ(cuda.optimizer.device(), kCuda);
  for (uint64_t step = 0; step < 20; ++step) {
    cpu.step(10 * step);
    cuda.step(10 * step);
    EXPECT_LT(twin_error(cuda.floats(), cpu.floats()), 1e-6) << step;
    EXPECT_EQ(cuda.counts(), cpu.counts());
  }
}

TEST(AdamCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  expect_follows_the_cpu<Adam>(AdamOptions{});
  expect_follows_the_cpu<Adam>(AdamOptions{0.0, 0.5, 1e-3});
}

TEST(AdamWCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  expect_follows_the_cpu<AdamW>(AdamOptions{});
}

TEST(SgdCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  expect_follows_the_cpu<Sgd>(SgdOptions{0.9});
  expect_follows_the_cpu<Sgd>(SgdOptions{});
}

template <class Kind, class Options>
void expect_grows_as_on_the_cpu(const Options& options) {
  Twin<Kind> cpu({}, options), cuda(kCuda, options);
  uint64_t seed = 0;
  const auto both = [&](auto&& act) {
    act(cpu);
    act(cuda);
  };
  const auto check = [&](const char* when) {
    EXPECT_LT(twin_error(cuda.floats(), cpu.floats()), 1e-6) << when;
    EXPECT_EQ(cuda.counts(), cpu.counts()) << when;
  };
  const auto step = [&](const char* when) {
    seed += 10;
    both([&](auto& twin) { twin.step(seed); });
    check(when);
  };
  step("first");
  step("second");
  // The gradient of a duplication in the middle of a step belongs to that step.
  seed += 10;
  both([&](auto& twin) {
    twin.optimizer.zero_grad();
    twin.set_gradients(seed);
    twin.group.duplicate(1);
    twin.optimizer.step(kTwinRate);
  });
  check("duplicate");
  step("after duplicate");
  both([](auto& twin) { twin.group.append(2, [](std::string_view, const Tensor&) {}); });
  step("append");
  both([](auto& twin) { twin.group.remove(0); });
  step("remove");
  both([](auto& twin) { twin.group.duplicate(2); });
  step("duplicate again");
}

TEST(NewbornCuda, GrowsAsOnTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const NewbornState state :
       {NewbornState::inherit, NewbornState::fresh, NewbornState::reference}) {
    SCOPED_TRACE(to_string(state));
    const AdamOptions adam{0.9, 0.999, 1e-8, state};
    expect_grows_as_on_the_cpu<AdamW>(adam);
    expect_grows_as_on_the_cpu<Adam>(adam);
    expect_grows_as_on_the_cpu<Sgd>(SgdOptions{0.9, state});
  }
}

TEST(NewbornCuda, RemovedAgainEveryBitIsAsBefore) {
  OFFSHOOT_NEEDS_CUDA();
  Twin<AdamW> twin(kCuda, AdamOptions{});
  twin.step(1);
  const auto before = twin.bits();
  const int64_t committed = storage_stats(kCuda).growable_bytes;
  twin.group.duplicate(0);
  EXPECT_NE(twin.bits(), before);
  twin.group.remove(3);
  EXPECT_EQ(twin.bits(), before);
  EXPECT_EQ(storage_stats(kCuda).growable_bytes, committed);
}

TEST(OptimizerCuda, KeepsMomentsBesideTheParameterAndCountsOnTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const Twin<AdamW> twin(kCuda, AdamOptions{});
  twin.optimizer.each_state([](const std::string& name, const Tensor& state) {
    const bool counts = name.ends_with("/step");
    EXPECT_EQ(state.device(), counts ? Device{} : kCuda) << name;
  });
}

TEST(OptimizerCuda, OneIsForOneDevice) {
  OFFSHOOT_NEEDS_CUDA();
  Parameter here("here", Tensor::zeros({2}, DType::f32));
  Parameter there("there", Tensor::zeros({2}, DType::f32, kCuda));
  EXPECT_THROW(Sgd({{{&here, &there}}}), Error);
  EXPECT_THROW(AdamW({{{&there}}, {{&here}}}), Error);
  EXPECT_NO_THROW(AdamW({{{&there}}}));  // a failed construction claims nothing
}

// What a whole step does beside forward and backward.
template <class Kind>
void update(Twin<Kind>& twin, const Tensor& loss) {
  Parameter* const all[] = {&twin.fc, &twin.gate, &twin.large, &twin.one, &twin.idle};
  twin.optimizer.step(kTwinRate, clip_gradients(all, 1.0, loss));
}

TEST(OptimizerCuda, AStepNeitherWaitsNorAsksTheSystem) {
  OFFSHOOT_NEEDS_CUDA();
  Twin<AdamW> adam(kCuda, AdamOptions{});
  Twin<Sgd> sgd(kCuda, SgdOptions{0.9});
  const Tensor loss = Tensor::full({}, DType::f32, 1.5, kCuda);
  adam.step(1);
  sgd.step(1);
  update(adam, loss);
  const int64_t waits = device_waits(), requests = storage_stats(kCuda).system_requests;
  for (int step = 0; step < 5; ++step) {
    update(adam, loss);
    update(sgd, loss);
    adam.optimizer.step(kTwinRate, loss);
  }
  EXPECT_EQ(device_waits(), waits);
  EXPECT_EQ(storage_stats(kCuda).system_requests, requests);
}

template <class Kind, class Options>
void expect_guarded(const Options& options) {
  Twin<Kind> twin(kCuda, options), plain(kCuda, options);
  twin.step(1);
  plain.step(1);
  const auto before = twin.bits();
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const double loss : {kNan, kInfinity, -kInfinity}) {
      twin.optimizer.step(kTwinRate, Tensor::full({}, dtype, loss, kCuda));
      EXPECT_EQ(twin.bits(), before) << to_string(dtype) << " " << loss;
    }
  }
  // One without a guard, and one with a finite number, are the same.
  Twin<Kind> guarded(kCuda, options);
  guarded.step(1);
  for (int step = 0; step < 2; ++step) {
    guarded.optimizer.step(kTwinRate, Tensor::full({1}, DType::f32, -3.0, kCuda));
    plain.optimizer.step(kTwinRate);
  }
  EXPECT_EQ(guarded.bits(), plain.bits());
  EXPECT_NE(guarded.bits(), before);
}

TEST(OptimizerCuda, ALossThatIsNotFiniteChangesNoBit) {
  OFFSHOOT_NEEDS_CUDA();
  expect_guarded<AdamW>(AdamOptions{});
  expect_guarded<Sgd>(SgdOptions{0.9});
  expect_guarded<Sgd>(SgdOptions{});
}

TEST(OptimizerCuda, RefusesOtherGuards) {
  OFFSHOOT_NEEDS_CUDA();
  Twin<Sgd> twin(kCuda, SgdOptions{});
  EXPECT_THROW(twin.optimizer.step(0.1, Tensor::zeros({}, DType::f32)), Error);
  EXPECT_THROW(twin.optimizer.step(0.1, Tensor::zeros({2}, DType::f32, kCuda)), Error);
  EXPECT_THROW(twin.optimizer.step(0.1, Tensor::zeros({}, DType::i64, kCuda)), Error);
}

}  // namespace
}  // namespace offshoot
