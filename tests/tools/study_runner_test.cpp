// Trials side by side: order, reuse, failures, interrupts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "engine/error.h"
#include "tests/engine/file_test.h"
#include "tools/hmm/study/runner.h"
#include "tools/hmm/study/study.h"
#include "tools/support/interrupt.h"

namespace offshoot {
namespace {

class RunnerTest : public FileTest {
 protected:
  void SetUp() override {
    FileTest::SetUp();
    sink_ = std::fopen("/dev/null", "w");
  }
  void TearDown() override {
    std::fclose(sink_);
    FileTest::TearDown();
  }

  static std::vector<Trial> trials(int64_t count) {
    std::vector<Trial> all(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      all[static_cast<size_t>(i)].cell = "cell";
      all[static_cast<size_t>(i)].seed = i;
      all[static_cast<size_t>(i)].flags = {"--steps", "10"};
    }
    return all;
  }

  // A line in the file for each trial that is run, whichever process runs it.
  TrialFunction counting(TrialFunction inner) {
    return [this, inner](const Trial& trial, const TrialProgress& progress) {
      std::FILE* log = std::fopen(path("log").c_str(), "a");
      std::fputs("run\n", log);
      std::fclose(log);
      return inner(trial, progress);
    };
  }
  int64_t times_run() {
    if (!std::filesystem::exists(path("log"))) return 0;
    const std::string log = bytes_of(path("log"));
    return std::ranges::count(log, '\n');
  }

  static StudyRun squares(const Trial& trial, const TrialProgress& progress) {
    progress(10);
    StudyRun run;
    run.seed = trial.seed;
    run.measures["square"] = static_cast<double>(trial.seed * trial.seed) + 0.1;
    run.measures["nothing"] = std::nan("");
    run.experts = {{0, 8}, {5, 9}};
    run.events.push_back({GrowthEvent::Kind::expand, 4, "moe", 0, 8, 0.5, 0.1, 0.2, 9});
    run.initial_experts = 8;
    return run;
  }

  std::FILE* sink_ = nullptr;
};

TEST_F(RunnerTest, ResultsComeInTheTrialsOrderWhateverTheJobs) {
  for (const int jobs : {1, 3, 16}) {
    Runner runner({"", jobs}, sink_, squares);
    const auto runs = runner.run(trials(7));
    ASSERT_EQ(runs.size(), 7u);
    for (int64_t i = 0; i < 7; ++i) {
      const StudyRun& run = runs[static_cast<size_t>(i)];
      EXPECT_EQ(run.seed, i);
      EXPECT_EQ(run.measures.at("square"), static_cast<double>(i * i) + 0.1);
      EXPECT_TRUE(std::isnan(run.measures.at("nothing")));
      EXPECT_EQ(run.experts.size(), 2u);
      EXPECT_EQ(run.events.at(0).created, 8);
    }
  }
}

TEST_F(RunnerTest, WhatIsFinishedIsNotRunAgain) {
  const auto all = trials(5);
  {
    Runner runner({path("runs"), 2}, sink_, counting(squares));
    runner.run({all.begin(), all.begin() + 3});
  }
  EXPECT_EQ(times_run(), 3);
  Runner runner({path("runs"), 2}, sink_, counting(squares));
  const auto runs = runner.run(all);
  EXPECT_EQ(times_run(), 5);
  EXPECT_EQ(runs[1].measures.at("square"), 1.1);
  EXPECT_EQ(runs[1].events.at(0).p_value, 0.5);

  auto others = all;
  others[0].flags = {"--steps", "11"};
  others[1].stages = {{0, {1, 2}}};
  runner.run(others);
  EXPECT_EQ(times_run(), 7);
}

TEST_F(RunnerTest, EqualTrialsAreRunOnce) {
  auto all = trials(2);
  all.push_back(all[0]);
  all.back().cell = "its twin";
  Runner runner({"", 3}, sink_, counting(squares));
  const auto runs = runner.run(all);
  EXPECT_EQ(times_run(), 2);
  EXPECT_EQ(runs[2].measures.at("square"), 0.1);
}

TEST_F(RunnerTest, FailuresAreNamedWhenAllHaveRun) {
  const TrialFunction some_fail = [](const Trial& trial, const TrialProgress& progress) {
    if (trial.seed == 1) fail("train", "step 3: the loss is\nnot finite");
    if (trial.seed == 2) std::raise(SIGKILL);
    if (trial.seed == 3) ::_exit(7);
    return squares(trial, progress);
  };
  Runner runner({path("runs"), 2}, sink_, counting(some_fail));
  const std::string error = error_of([&] { runner.run(trials(6)); });
  EXPECT_EQ(times_run(), 6);
  EXPECT_TRUE(contains(error, "3 of 6 runs failed")) << error;
  EXPECT_TRUE(contains(error, "cell-seed1: [train] step 3: the loss is not finite")) << error;
  EXPECT_TRUE(contains(error, "cell-seed2: ended by signal 9")) << error;
  EXPECT_TRUE(contains(error, "cell-seed3: ended with 7")) << error;
  // The others are kept.
  Runner again({path("runs"), 2}, sink_, counting(squares));
  again.run(trials(6));
  EXPECT_EQ(times_run(), 9);
}

TEST_F(RunnerTest, AnInterruptKeepsWhatIsFinished) {
  const InterruptGuard guard;
  const TrialFunction stuck = [](const Trial& trial, const TrialProgress& progress) {
    if (trial.seed == 0) return squares(trial, progress);
    ::kill(::getppid(), SIGINT);
    for (;;) ::pause();
  };
  Runner runner({path("runs"), 1}, sink_, counting(stuck));
  EXPECT_THROW(runner.run(trials(3)), Runner::Interrupted);
  EXPECT_EQ(times_run(), 2);
  const InterruptGuard fresh;
  Runner again({path("runs"), 1}, sink_, counting(squares));
  again.run(trials(3));
  EXPECT_EQ(times_run(), 4);
}

TEST_F(RunnerTest, ABadResultFileIsNamedAndItsRunMadeAgain) {
  {
    Runner runner({path("runs"), 1}, sink_, counting(squares));
    runner.run(trials(1));
  }
  const auto file = std::filesystem::directory_iterator(path("runs"))->path();
  for (const std::string_view damaged :
       {"", "{\"key\": ", "{}", "[1]", "{\"key\": 3, \"run\": 4}"}) {
    put_bytes(file, damaged);
    std::FILE* said = std::fopen(path("said").c_str(), "w");
    Runner runner({path("runs"), 1}, said, counting(squares));
    EXPECT_EQ(runner.run(trials(1))[0].measures.at("square"), 0.1);
    std::fclose(said);
    EXPECT_EQ(contains(bytes_of(path("said")), "run again"), !damaged.ends_with("4}"));
  }
  EXPECT_EQ(times_run(), 6);
}

// The same path with other tokens in it is another corpus.
TEST_F(RunnerTest, ACorpusThatChangedIsTrainedOnAnew) {
  GincOptions ginc;
  ginc.train_documents = 2;
  ginc.train_length = 100;
  ginc.test_documents = 4;
  save_corpus(path("corpus.h5"), generate_corpus(ginc));
  ginc.seed = 1;
  save_corpus(path("other.h5"), generate_corpus(ginc));
  auto first = trials(1), second = trials(1);
  first[0].flags.insert(first[0].flags.end(), {"--corpus", path("corpus.h5")});
  second[0].flags.insert(second[0].flags.end(), {"--corpus", path("other.h5")});
  EXPECT_NE(key_of(first[0]).dump(), key_of(second[0]).dump());
  std::filesystem::copy_file(path("corpus.h5"), path("twin.h5"));
  second[0].flags.back() = path("twin.h5");
  EXPECT_EQ(key_of(first[0]).dump(), key_of(second[0]).dump());
}

TEST_F(RunnerTest, BadFlagsNameTheTrial) {
  auto all = trials(1);
  all[0].flags = {"--steps", "none"};
  Runner runner({"", 1}, sink_, squares);
  const std::string error = error_of([&] { runner.run(all); });
  EXPECT_TRUE(contains(error, "cell-seed0")) << error;
  EXPECT_TRUE(contains(error, "--steps")) << error;
}

}  // namespace
}  // namespace offshoot
