// What a training step asks the system for, once it has settled: nothing.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "engine/random.h"
#include "mass/controller.h"
#include "tools/hmm/trainer.h"

namespace offshoot {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr int64_t kVocabulary = 7, kLength = 8, kBatch = 3;

TrainerOptions small(const RouteOptions& route) {
  TrainerOptions options;
  options.model.vocabulary = kVocabulary;
  options.model.context_length = kLength;
  options.model.features = 8;
  options.model.heads = 2;
  options.model.moe.emplace();
  options.model.moe->hidden = 4;
  options.model.moe->experts = 4;
  options.model.moe->max_experts = 8;
  options.model.moe->route = route;
  options.schedule.rate = 1e-3;
  options.schedule.steps = 1000;
  return options;
}

Tensor batch(int64_t step) {
  Random random(3, static_cast<uint64_t>(step));
  const Tensor tokens({kBatch, kLength + 1}, DType::i32);
  for (int32_t& token : tokens.elements<int32_t>()) {
    token = static_cast<int32_t>(random.below(kVocabulary));
  }
  return tokens;
}

int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

const RouteOptions kTop2{RouteOptions::Kind::top_k, 2, 1, CombineWeights::renormalised};

// System requests of `steps` training steps.
int64_t requests_of(Trainer& trainer, int64_t steps) {
  const int64_t before = storage_stats().system_requests;
  for (int64_t i = 0; i < steps; ++i) trainer.step(batch(trainer.steps_done()));
  return storage_stats().system_requests - before;
}

TEST(SteadyState, TopKAsksForNothingAfterStepOne) {
  release_pooled_storage();
  Trainer trainer(small(kTop2));
  requests_of(trainer, 2);
  const StorageStats settled = storage_stats();
  EXPECT_EQ(requests_of(trainer, 30), 0);
  EXPECT_EQ(storage_stats().pooled_bytes_in_use, settled.pooled_bytes_in_use);  // nothing piles up
  EXPECT_EQ(storage_stats().pooled_bytes_peak, settled.pooled_bytes_peak);
}

// What the allocator counts are large stretches of address space; the system counts each new page.
TEST(SteadyState, TopKTouchesNoNewMemory) {
  if (kSanitized) GTEST_SKIP() << "sanitizers keep memory of their own";
  Trainer trainer(small(kTop2));
  requests_of(trainer, 20);
  const int64_t before = page_faults();
  requests_of(trainer, 50);
  EXPECT_LE(page_faults() - before, 50);  // less than one a step; its activations are a dozen
}

TEST(SteadyState, TopPAsksForNothingAfterFiftySteps) {
  release_pooled_storage();
  Trainer trainer(
      small({RouteOptions::Kind::top_p, 1, 0.7, CombineWeights::renormalised_if_shared}));
  requests_of(trainer, 50);
  EXPECT_EQ(requests_of(trainer, 100), 0);
}

TEST(SteadyState, AfterTheExpansionPhaseMonitoringLeavesNothing) {
  release_pooled_storage();
  TrainerOptions options = small(kTop2);
  MassOptions& mass = options.policy.mass;
  options.policy.kind = PolicyKind::mass;
  mass = mass_options(MassPreset::reference, 300);  // the phase ends at step 30
  mass.warmup = 2;
  mass.window = 6;
  mass.alpha = 1;
  mass.delta = 0.3;
  mass.max_experts = 8;
  Trainer trainer(options);
  requests_of(trainer, 30);
  EXPECT_GT(trainer.model().moe_layers()[0]->experts(), 4);
  EXPECT_EQ(dynamic_cast<MassController&>(*trainer.policy()).detector(0), nullptr);
  requests_of(trainer, 1);
  EXPECT_EQ(requests_of(trainer, 30), 0);
}

}  // namespace
}  // namespace offshoot
