// The whole program, as a user calls it.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <set>
#include <sstream>

#include "engine/json.h"
#include "tests/engine/file_test.h"
#include "tests/support/cuda_device.h"
#include "tests/tools/checkpoint_bytes.h"
#include "tests/tools/hmm_run.h"

namespace offshoot {
namespace {

using testing::checkpoint_bytes;
using testing::differences;

// offshoot-hmm of the same build, wherever that has been put.
std::string program() {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  return self.parent_path() / "../../bin/offshoot-hmm";
}

struct Outcome {
  int status;
  std::string out;
  std::string error;
};

class HmmProgramTest : public FileTest {
 protected:
  // offshoot-hmm with these arguments, in the test's folder.
  Outcome call(const std::string& arguments) const {
    return shell_call(program() + " " + arguments);
  }
  Outcome shell_call(const std::string& command) const {
    const int status = shell(fmt::format("({}) > out.txt 2> error.txt", command));
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 256 + status, bytes_of(path("out.txt")),
            bytes_of(path("error.txt"))};
  }
  Outcome quick(const std::string& arguments) const { return call(quick_flags() + arguments); }
  static std::string quick_flags() {
    std::string flags;
    for (const std::string& flag : testing::quick_flags()) flags += flag + " ";
    return flags;
  }
  // It fails with one line that contains `text`, leaves no folder `run` and does not crash.
  void expect_failure(int status, const std::string& text, const Outcome& outcome) const {
    EXPECT_EQ(outcome.status, status) << outcome.error;
    EXPECT_TRUE(contains(outcome.error, text)) << outcome.error << "should contain " << text;
    EXPECT_EQ(std::ranges::count(outcome.error, '\n'), 1) << outcome.error;
    EXPECT_FALSE(std::filesystem::exists(path("run")));
  }
};

TEST_F(HmmProgramTest, EveryMethodRuns) {
  for (const std::string method : {"mass", "topk", "topp", "gmoe", "dynmoe", "sigmoid", "dense"}) {
    const std::string topk = method == "dense" ? "" : " --shared-hidden 4";
    const Outcome run = quick("--method " + method + topk + " --out " + method);
    ASSERT_EQ(run.status, 0) << run.error;
    EXPECT_EQ(run.error, "");
    EXPECT_TRUE(contains(run.out, "exact Bayes floor")) << run.out;
    const Json result = Json::read_file(path(method + "/result.json"));
    EXPECT_EQ(result.get<std::string>("method"), method);
    EXPECT_EQ(result.get<int64_t>("configuration", "steps"), 40);
    EXPECT_EQ(result.at("experts").is_null(), method == "dense");
    const std::string metrics = bytes_of(path(method + "/metrics.jsonl"));
    EXPECT_EQ(std::ranges::count(metrics, '\n'), 40);
    EXPECT_TRUE(contains(bytes_of(path(method + "/report.html")), "</html>"));
  }
}

TEST_F(HmmProgramTest, EqualRunsLeaveEqualFilesAndSoDoesAResumedOne) {
  ASSERT_EQ(quick("--out a").status, 0);
  ASSERT_EQ(quick("--out b --save-every 7").status, 0);
  ASSERT_EQ(quick("--out half --stop-at 20").status, 0);
  const Outcome resumed = call("--resume half/checkpoint.h5 --threads 2 --out c");
  ASSERT_EQ(resumed.status, 0) << resumed.error;
  const auto expected = checkpoint_bytes(path("a/checkpoint.h5"));
  for (const std::string other : {"b", "c"}) {
    EXPECT_EQ(differences(expected, checkpoint_bytes(path(other + "/checkpoint.h5"))), "");
    EXPECT_EQ(bytes_of(path(other + "/metrics.jsonl")), bytes_of(path("a/metrics.jsonl")));
    if (shell("h5diff --version > /dev/null 2>&1") != 0) continue;
    EXPECT_EQ(shell(fmt::format("h5diff --exclude-path /provenance a/checkpoint.h5 "
                                "{}/checkpoint.h5 > diff.txt 2>&1",
                                other)),
              0);
    EXPECT_EQ(bytes_of(path("diff.txt")), "");
  }
  const Json half = Json::read_file(path("half/result.json"));
  EXPECT_EQ(half.get<int64_t>("steps_done"), 20);
  EXPECT_EQ(half.get<int64_t>("configuration", "steps"), 40);
  EXPECT_LT(half.at("events").size(), Json::read_file(path("a/result.json")).at("events").size());
}

// Ctrl-C is INT.
TEST_F(HmmProgramTest, ASignalSavesAndSaysHowToResume) {
  for (const char* signal : {"TERM", "INT"}) {
    put_bytes(
        path("cut.sh"),
        fmt::format("{} {} --steps 1000000 --save-every 7 --out cut > out.txt 2> error.txt &\n"
                    "for i in $(seq 1000); do\n"
                    "  [ -e cut/checkpoint.h5 ] && break\n"
                    "  sleep 0.01\n"
                    "done\n"
                    "kill -{} $!\n"
                    "wait $!\n",
                    program(), quick_flags(), signal));
    // Results of an earlier run, which must not pass for this one's.
    std::filesystem::remove_all(path("cut"));
    std::filesystem::create_directory(path("cut"));
    put_bytes(path("cut/result.json"), "{}");
    put_bytes(path("cut/report.html"), "");
    EXPECT_EQ(shell("sh cut.sh"), 0) << bytes_of(path("error.txt"));
    const std::string out = bytes_of(path("out.txt"));
    EXPECT_TRUE(contains(out, "Interrupted after step")) << signal << ": " << out;
    EXPECT_TRUE(contains(out, "--resume cut/checkpoint.h5 --out cut")) << out;
    EXPECT_FALSE(std::filesystem::exists(path("cut/result.json")));
    EXPECT_FALSE(std::filesystem::exists(path("cut/report.html")));
    const int64_t step = CheckpointReader(path("cut/checkpoint.h5")).head().step;
    const Outcome resumed = call(
        fmt::format("--resume cut/checkpoint.h5 --threads 2 --stop-at {} --out cut", step + 3));
    EXPECT_EQ(resumed.status, 0) << resumed.error;
    EXPECT_EQ(CheckpointReader(path("cut/checkpoint.h5")).head().step, step + 3);
  }
}

// One that comes in the last save, or after it, ends nothing half-done.
TEST_F(HmmProgramTest, ASignalAtTheEndLosesNothing) {
  put_bytes(path("cut.sh"), fmt::format("{} {} --out cut > out.txt 2> error.txt &\n"
                                        "for i in $(seq 4000); do\n"
                                        "  [ -e cut/checkpoint.h5 ] && break\n"
                                        "  sleep 0.005\n"
                                        "done\n"
                                        "kill -TERM $!\n"
                                        "wait $!\n",
                                        program(), quick_flags()));
  EXPECT_EQ(shell("sh cut.sh"), 0) << bytes_of(path("error.txt"));
  EXPECT_TRUE(std::filesystem::exists(path("cut/result.json")));
  EXPECT_TRUE(std::filesystem::exists(path("cut/report.html")));
}

// The test loss of this run falls from test to test.
TEST_F(HmmProgramTest, KeepsTheNewestCheckpointsAndTheBest) {
  const std::string flags = "--save-every 8 --keep 7 --best --out kept";
  ASSERT_EQ(quick(flags).status, 0);
  const auto names = [&] {
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(path("kept"))) {
      if (entry.path().extension() == ".h5") all.insert(entry.path().filename());
    }
    return all;
  };
  const auto step_of = [&](const std::string& name) {
    return CheckpointReader(path("kept/" + name)).head().step;
  };
  // Saved at every eighth step, and at every tenth, whose test was the best so far.
  const std::set<std::string> expected{"best.h5",
                                       "checkpoint.h5",
                                       "checkpoint-step00000010.h5",
                                       "checkpoint-step00000016.h5",
                                       "checkpoint-step00000020.h5",
                                       "checkpoint-step00000024.h5",
                                       "checkpoint-step00000030.h5",
                                       "checkpoint-step00000032.h5",
                                       "checkpoint-step00000040.h5"};
  EXPECT_EQ(names(), expected);
  EXPECT_EQ(step_of("best.h5"), 40);
  EXPECT_EQ(step_of("checkpoint-step00000016.h5"), 16);
  EXPECT_TRUE(std::filesystem::equivalent(path("kept/best.h5"), path("kept/checkpoint.h5")));

  // Back to an earlier step, whose tests are worse; in the run's folder without being told.
  const Outcome back =
      call("--resume kept/checkpoint-step00000010.h5 --threads 2 --stop-at 20 --keep 7 --best");
  ASSERT_EQ(back.status, 0) << back.error;
  EXPECT_EQ(step_of("checkpoint.h5"), 20);
  EXPECT_EQ(step_of("best.h5"), 40);
  EXPECT_TRUE(contains(back.out, "--keep 7 --best")) << back.out;

  // Another run in the folder leaves nothing of this one.
  ASSERT_EQ(quick("--seed 5 --steps 5 --phase-end 5 --out kept").status, 0);
  EXPECT_EQ(names(), std::set<std::string>{"checkpoint.h5"});
}

// Where results cannot be kept, those that are there stay.
TEST_F(HmmProgramTest, AFullDiskKeepsEarlierResults) {
  ASSERT_EQ(quick("--out kept").status, 0);
  const Outcome full = shell_call(fmt::format(
      "trap '' XFSZ; ulimit -f 8; {} {} --seed 5 --out kept", program(), quick_flags()));
  EXPECT_NE(full.status, 0);
  EXPECT_TRUE(contains(full.error, "File too large")) << full.error;
  EXPECT_TRUE(std::filesystem::exists(path("kept/result.json")));
  EXPECT_TRUE(std::filesystem::exists(path("kept/report.html")));
  EXPECT_EQ(CheckpointReader(path("kept/checkpoint.h5")).head().seed, 0);
}

// A CUDA device, real or emulated, is a flag; a run begun there goes on elsewhere.
using HmmProgramCuda = HmmProgramTest;

TEST_F(HmmProgramCuda, TrainsThereAndGoesOnHere) {
  OFFSHOOT_NEEDS_CUDA();
  const Outcome there = quick("--out a --device cuda --stop-at 20 --verbose");
  ASSERT_EQ(there.status, 0) << there.error;
  EXPECT_TRUE(contains(there.out, "cuda:0")) << there.out;
  EXPECT_TRUE(contains(there.out, "calls on own kernels")) << there.out;
  EXPECT_TRUE(contains(there.out, "calls on the cuBLASLt loop")) << there.out;
  const Outcome here = call("--resume a/checkpoint.h5 --threads 2 --out b");
  ASSERT_EQ(here.status, 0) << here.error;
  ASSERT_EQ(call("--resume b/checkpoint.h5 --device cuda:0 --out c").status, 0);
  ASSERT_EQ(quick("--out d").status, 0);
  const auto loss = [&](const char* out) {
    return Json::read_file(path(std::string(out) + "/result.json")).get<double>("test_loss");
  };
  EXPECT_NEAR(loss("b"), loss("d"), 0.05);
  ASSERT_EQ(quick("--out e --device cuda --precision bf16").status, 0);
  EXPECT_NEAR(loss("e"), loss("d"), 0.2);
}

TEST_F(HmmProgramTest, ADeviceThatIsNotThereIsOneLine) {
  expect_failure(2, "--device: got gpu, expected cpu, cuda or cuda:<n>",
                 quick("--out run --device gpu"));
  expect_failure(2, "--device: got cuda:99, expected", quick("--out run --device cuda:99"));
  expect_failure(2,
                 "--precision: got bf16, which wants --device cuda, expected f32 or f64 on the CPU",
                 quick("--out run --precision bf16"));
}

TEST_F(HmmProgramTest, ACorpusFileIsTheCorpus) {
  ASSERT_EQ(quick("--out a --save-corpus c.h5").status, 0);
  ASSERT_EQ(quick("--out b --corpus c.h5 --prompts --stop-at 20").status, 0);
  // Where the corpus lies is known from the file; other corpora are refused.
  ASSERT_EQ(call("--resume b/checkpoint.h5 --threads 2 --out b").status, 0);
  EXPECT_EQ(differences(checkpoint_bytes(path("a/checkpoint.h5")),
                        checkpoint_bytes(path("b/checkpoint.h5"))),
            "");
  ASSERT_EQ(quick("--seed 1 --steps 1 --phase-end 1 --save-corpus d.h5 --out d").status, 0);
  const Outcome refused = call("--resume b/checkpoint.h5 --corpus d.h5 --out run");
  expect_failure(1, "d.h5: got the corpus ", refused);
  EXPECT_TRUE(contains(
      refused.error,
      Json::read_file(path("a/result.json")).get<std::string>("configuration", "corpus-hash")));
}

TEST_F(HmmProgramTest, AResultsConfigurationRepeatsTheRun) {
  ASSERT_EQ(quick("--out a --preset paper").status, 0);
  put_bytes(path("c.json"), Json::read_file(path("a/result.json")).at("configuration").dump());
  ASSERT_EQ(call("--config c.json --threads 2 --out b").status, 0);
  EXPECT_EQ(differences(checkpoint_bytes(path("a/checkpoint.h5")),
                        checkpoint_bytes(path("b/checkpoint.h5"))),
            "");
}

TEST_F(HmmProgramTest, BadFlagsAreOneLine) {
  expect_failure(2, "--colour: unknown flag", quick("--out run --colour blue"));
  expect_failure(2, "--p: got 1.5, expected a number in (0, 1]", quick("--out run --p 1.5"));
  expect_failure(2, "--experts: got 13", quick("--out run --experts 13"));
  put_bytes(path("c.json"), "{\"stepz\": 3}");
  expect_failure(2, "c.json] stepz: unknown key", quick("--out run --config c.json"));
  expect_failure(1, "missing.h5", call("--out run --resume missing.h5"));
  expect_failure(1, "out.txt/run", quick("--out out.txt/run"));
  expect_failure(1, "[out] got an empty name", quick("--out ''"));
}

TEST_F(HmmProgramTest, ANaNLossLeavesNothing) {
  for (const std::string method : {"mass", "topk", "dense"}) {
    expect_failure(1, "the loss is not a finite number",
                   quick("--out run --lr 1e30 --method " + method));
  }
}

TEST_F(HmmProgramTest, BadFilesAreOneLine) {
  ASSERT_EQ(quick("--out a --save-corpus c.h5").status, 0);
  const std::string good = bytes_of(path("a/checkpoint.h5"));
  const auto refuses = [&](const std::string& bytes, const std::string& text) {
    put_bytes(path("bad.h5"), bytes);
    expect_failure(1, text, call("--out run --resume bad.h5"));
  };
  refuses("", "bad.h5");
  refuses("not a checkpoint at all", "bad.h5: is not a checkpoint");
  refuses(good.substr(0, good.size() / 2), "bad.h5: is truncated");
  refuses(good.substr(0, 200), "bad.h5");
  std::string damaged = good;
  damaged[good.size() / 2] ^= 1;
  refuses(damaged, "bad.h5");
  std::string future = good;
  future.replace(future.find("version 1"), 9, "version 7");
  refuses(future, "version");
  expect_failure(1, "c.h5: is an HDF5 file of another kind", call("--out run --resume c.h5"));
  expect_failure(1, "expected ginc-corpus", quick("--out run --corpus a/checkpoint.h5"));
  expect_failure(1, "bad.h5", quick("--out run --corpus bad.h5"));
  put_bytes(path("bad.h5"), bytes_of(path("c.h5")).substr(0, 3000));
  expect_failure(1, "bad.h5", quick("--out run --corpus bad.h5"));

  // A checkpoint whose configuration asks for another width.
  testing::QuickRun run(testing::quick_config());
  Json other = Json::read_file(path("a/result.json")).at("configuration");
  other["d-model"] = 32;
  save_run(path("bad.h5"), run.state(), other, {});
  expect_failure(1, "embedding.weight", call("--out run --resume bad.h5"));
}

// On a disk too small for the checkpoint the run fails and leaves no part of a file.
TEST_F(HmmProgramTest, AFullDiskIsOneLine) {
  const std::string inside = fmt::format(
      "mkdir -p disk && mount -t tmpfs -o size=256k tmpfs disk 2> /dev/null || exit 77; "
      "{} {} --d-model 64 --out disk/run > out.txt 2> error.txt; echo $? > status.txt; "
      "find disk -type f > left.txt",
      program(), quick_flags());
  put_bytes(path("inside.sh"), inside);
  const int status = shell("unshare -m sh inside.sh 2> /dev/null");
  if (status != 0) GTEST_SKIP() << "no mounts here; the engine's tests inject the error";
  EXPECT_EQ(bytes_of(path("status.txt")), "1\n");
  const std::string error = bytes_of(path("error.txt"));
  EXPECT_TRUE(contains(error, "No space left on device")) << error;
  EXPECT_EQ(std::ranges::count(error, '\n'), 1) << error;
  EXPECT_EQ(bytes_of(path("left.txt")), "");
}

TEST_F(HmmProgramTest, HelpExplainsEveryFlag) {
  const Outcome help = call("--help");
  EXPECT_EQ(help.status, 0);
  for (const char* flag :
       {"--method", "--resume", "--p ", "--lred", "--[no-]prompts", "--config"}) {
    EXPECT_TRUE(contains(help.out, flag)) << flag;
  }
  std::istringstream lines(help.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
}

}  // namespace
}  // namespace offshoot
