// Runs of the experiment on a CUDA device, real or emulated, beside the same runs on the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "engine/storage.h"
#include "tests/engine/file_test.h"
#include "tests/support/cuda_device.h"
#include "tests/support/waits.h"
#include "tests/tools/checkpoint_bytes.h"
#include "tests/tools/hmm_run.h"
#include "tools/hmm/evaluation.h"

namespace offshoot {
namespace {

using testing::checkpoint_bytes;
using testing::differences;
using testing::quick_config;
using testing::QuickRun;

class HmmRunCuda : public FileTest {};

HmmConfig on_cuda(std::vector<std::string> more) {
  more.insert(more.end(), {"--device", "cuda"});
  return quick_config(more);
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected,
                 double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t step = 0; step < got.size(); ++step) {
    EXPECT_NEAR(got[step], expected[step], tolerance) << "step " << step;
  }
}

TEST_F(HmmRunCuda, EveryMethodFollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const std::vector<std::vector<std::string>> runs = {
      {"--method", "dense"},
      {"--method", "topk", "--topk", "2", "--clip", "0.5"},
      {"--method", "topp", "--p", "0.7", "--balance-loss", "0.01", "--z-loss", "0.001"},
      {"--method", "mass", "--dropout", "0.1", "--layers", "2"},
      {"--method", "mass", "--preset", "paper", "--preserve-function", "on"}};
  for (const auto& flags : runs) {
    SCOPED_TRACE(flags[1]);
    QuickRun there(on_cuda(flags)), here(quick_config(flags));
    there.train(12);
    here.train(12);
    // A token that lies on the edge of an expert costs more than rounding does; which one does
    // depends on the build. The trajectories hold 1e-4.
    expect_near(there.log.loss(), here.log.loss(), 1e-3);
    EXPECT_EQ(there.log.events().size(), here.log.events().size());
  }
}

TEST_F(HmmRunCuda, RepeatsBitForBit) {
  OFFSHOOT_NEEDS_CUDA();
  for (const char* precision : {"f32", "bf16"}) {
    for (const char* name : {"a.h5", "b.h5"}) {
      QuickRun run(on_cuda({"--precision", precision, "--dropout", "0.1"}));
      run.train(30);
      EXPECT_FALSE(run.log.events().empty());
      save_run(path(name), run.state(), Json::object(), {});
    }
    EXPECT_EQ(differences(checkpoint_bytes(path("a.h5")), checkpoint_bytes(path("b.h5"))), "");
  }
}

TEST_F(HmmRunCuda, ResumesWithTheSameBits) {
  OFFSHOOT_NEEDS_CUDA();
  QuickRun whole(on_cuda({})), half(on_cuda({})), rest(on_cuda({}));
  whole.train(30);
  half.train(20);
  ASSERT_FALSE(half.log.events().empty());
  save_run(path("half.h5"), half.state(), Json::object(), {});
  load_run(CheckpointReader(path("half.h5")), rest.state());
  rest.train(30);
  EXPECT_EQ(rest.log.json_lines(), whole.log.json_lines());
}

// A model with a grown pool, its optimizer and its windows.
TEST_F(HmmRunCuda, GoesOnOnTheOtherDevice) {
  OFFSHOOT_NEEDS_CUDA();
  for (const bool from_cuda : {true, false}) {
    const HmmConfig first = from_cuda ? on_cuda({}) : quick_config();
    const HmmConfig second = from_cuda ? quick_config() : on_cuda({});
    QuickRun begun(first), moved(second);
    begun.train(20);
    ASSERT_FALSE(begun.log.events().empty());
    save_run(path("a.h5"), begun.state(), Json::object(), {});
    load_run(CheckpointReader(path("a.h5")), moved.state());
    save_run(path("b.h5"), moved.state(), Json::object(), {});
    EXPECT_EQ(differences(checkpoint_bytes(path("a.h5")), checkpoint_bytes(path("b.h5"))), "");
    begun.train(26);
    moved.train(26);
    expect_near(moved.log.loss(), begun.log.loss(), 1e-4);
    EXPECT_EQ(moved.log.events().size(), begun.log.events().size());
  }
}

TEST_F(HmmRunCuda, MixedPrecisionLearnsAsWell) {
  OFFSHOOT_NEEDS_CUDA();
  for (const char* method : {"dense", "topk", "mass"}) {
    QuickRun mixed(on_cuda({"--precision", "bf16", "--method", method}));
    QuickRun single(quick_config({"--method", method}));
    mixed.train(20);
    single.train(20);
    for (size_t step = 0; step < 20; ++step) {
      EXPECT_NEAR(mixed.log.loss()[step], single.log.loss()[step], 2e-2 * single.log.loss()[step])
          << method << " step " << step;
    }
  }
}

TEST_F(HmmRunCuda, EvaluatesAsOnTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  QuickRun there(on_cuda({"--layers", "2"})), here(quick_config({"--layers", "2"}));
  save_run(path("a.h5"), here.state(), Json::object(), {});
  load_run(CheckpointReader(path("a.h5")), there.state());
  const Evaluation got = evaluate(there.trainer.model(), there.data.corpus);
  const Evaluation expected = evaluate(here.trainer.model(), here.data.corpus);
  EXPECT_NEAR(got.loss, expected.loss, 1e-5);
  ASSERT_EQ(got.layers.size(), expected.layers.size());
  for (size_t i = 0; i < got.layers.size(); ++i) {
    EXPECT_EQ(got.layers[i].tokens, expected.layers[i].tokens);
    EXPECT_NEAR(got.layers[i].entity.sparse, expected.layers[i].entity.sparse, 1e-5);
  }
}

// Five steps ask the system for nothing, and the host waits only for numbers that are read when a
// step is over.
void expect_quiet_steps(QuickRun& run) {
  const int64_t requests = storage_stats(testing::kCuda).system_requests;
  const int64_t waits = device_waits();
  run.train(run.trainer.steps_done() + 5);
  EXPECT_EQ(storage_stats(testing::kCuda).system_requests, requests);
  // One read-back of counts a mixture layer, the loss and the counts of the step.
  EXPECT_LE(device_waits() - waits, testing::most_waits(5 * 3));
}

TEST_F(HmmRunCuda, AStepNeitherWaitsNorAllocates) {
  OFFSHOOT_NEEDS_CUDA();
  for (const char* method : {"dense", "topk", "topp"}) {
    SCOPED_TRACE(method);
    QuickRun run(on_cuda({"--method", method, "--clip", "1"}));
    run.train(3);
    expect_quiet_steps(run);
  }
}

TEST_F(HmmRunCuda, AStepAfterTheExpansionPhaseNeitherWaitsNorAllocates) {
  OFFSHOOT_NEEDS_CUDA();
  QuickRun run(on_cuda({"--method", "mass", "--clip", "1", "--phase-end", "16"}));
  run.train(18);
  EXPECT_FALSE(run.log.events().empty());
  expect_quiet_steps(run);
}

// The loss is finite, but its gradient is not: a weight beyond float is on an auxiliary loss.
TEST_F(HmmRunCuda, AnInfiniteGradientIsAnErrorWhereItIsClipped) {
  OFFSHOOT_NEEDS_CUDA();
  const std::vector<std::string> flags{"--method", "topk", "--clip", "1", "--balance-loss", "1e39"};
  for (const HmmConfig& config : {quick_config(flags), on_cuda(flags)}) {
    QuickRun run(config);
    const std::string error = error_of([&] { run.train(3); });
    EXPECT_TRUE(contains(error, "gradient norm: got") || contains(error, "got gradient norm"))
        << error;
    EXPECT_EQ(run.trainer.steps_done(), 0);
  }
}

TEST_F(HmmRunCuda, AnswersPromptsAsOnTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  QuickRun there(on_cuda({})), here(quick_config({}));
  save_run(path("a.h5"), here.state(), Json::object(), {});
  load_run(CheckpointReader(path("a.h5")), there.state());
  const std::vector<uint8_t> tokens{1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2};
  EXPECT_EQ(prompt_predictor(there.trainer.model())(tokens, 3, 4),
            prompt_predictor(here.trainer.model())(tokens, 3, 4));
}

TEST_F(HmmRunCuda, ANaNLossChangesNothing) {
  OFFSHOOT_NEEDS_CUDA();
  QuickRun run(on_cuda({"--method", "dense"}));
  run.train(2);
  Parameter& weight = parameter(run.trainer.model(), "ln_final.weight");
  const Tensor broken = weight.value().to(Device{});
  broken.data<float>()[0] = NAN;
  copy_elements(broken, weight.value());
  std::vector<Tensor> before;
  for (const Parameter* p : parameters(run.trainer.model())) before.push_back(p->value().clone());
  EXPECT_TRUE(contains(error_of([&] { run.train(3); }), "got loss nan"));
  EXPECT_EQ(run.trainer.steps_done(), 2);
  for (size_t i = 0; i < before.size(); ++i) {
    const Parameter& p = *parameters(run.trainer.model())[i];
    const Tensor now = p.value().to(Device{}), then = before[i].to(Device{});
    EXPECT_EQ(std::memcmp(now.raw(), then.raw(), static_cast<size_t>(now.bytes())), 0) << p.name();
  }
}

}  // namespace
}  // namespace offshoot
