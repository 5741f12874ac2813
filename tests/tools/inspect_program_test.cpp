// offshoot-inspect as a user calls it.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <sstream>

#include "engine/checkpoint_file.h"
#include "engine/json.h"
#include "tests/engine/file_test.h"
#include "tests/tools/hmm_run.h"

namespace offshoot {
namespace {

std::string program(const std::string& name) {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  return self.parent_path() / ("../../bin/" + name);
}

struct Called {
  int status;
  std::string out;
  std::string error;
};

class InspectProgramTest : public FileTest {
 protected:
  Called call(const std::string& command) const {
    const int status = shell(command + " > out.txt 2> error.txt");
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 256 + status, bytes_of(path("out.txt")),
            bytes_of(path("error.txt"))};
  }
  Called inspect(const std::string& arguments) const {
    return call(program("offshoot-inspect") + " " + arguments);
  }
  // A quick run by offshoot-hmm into the folder `out`.
  void train(const std::string& out, const std::string& more = "") const {
    std::string flags;
    for (const std::string& flag : testing::quick_flags()) flags += flag + " ";
    const Called run = call(program("offshoot-hmm") + " " + flags + "--out " + out + " " + more);
    ASSERT_EQ(run.status, 0) << run.error;
  }
  // Trouble: one line that contains `text`, and status 2.
  void expect_trouble(const std::string& arguments, const std::string& text) const {
    const Called called = inspect(arguments);
    EXPECT_EQ(called.status, 2) << arguments;
    EXPECT_EQ(called.out, "") << arguments;
    EXPECT_TRUE(contains(called.error, text)) << called.error << "should contain " << text;
    EXPECT_EQ(std::ranges::count(called.error, '\n'), 1) << called.error;
  }
  // A Python that has `module`, or "".
  std::string python_with(const std::string& module) const {
    for (const std::string python : {"python3", "/usr/bin/python3"}) {
      if (shell(python + " -c 'import " + module + "' > /dev/null 2>&1") == 0) return python;
    }
    return "";
  }
};

TEST_F(InspectProgramTest, EveryViewOfAFinishedRun) {
  train("run");
  for (const std::string view :
       {"", "configuration ", "tree ", "lineage ", "routing ", "metrics ", "verify "}) {
    const Called called = inspect(view + "run/checkpoint.h5");
    EXPECT_EQ(called.status, 0) << view << called.error;
    EXPECT_EQ(called.error, "") << view;
    EXPECT_GT(called.out.size(), 100u) << view;
    EXPECT_FALSE(contains(called.out, "\x1b")) << view;  // a pipe has no colours
    EXPECT_EQ(contains(called.out, "not verified"), view.empty()) << called.out;
  }
  EXPECT_EQ(inspect("metrics --json run/checkpoint.h5").out, bytes_of(path("run/metrics.jsonl")));
  EXPECT_TRUE(inspect("metrics run/checkpoint.h5 --csv").out.starts_with("step,loss,"));
}

TEST_F(InspectProgramTest, TheReportIsTheOneThatTrainingWrote) {
  train("run");
  ASSERT_EQ(inspect("report --html page.html run/checkpoint.h5").status, 0);
  EXPECT_EQ(bytes_of(path("page.html")), bytes_of(path("run/report.html")));
  // One that was stopped is at its end for now, and has a page; a resumed one has another.
  train("half", "--stop-at 20 --save-every 3");
  ASSERT_EQ(inspect("report --html page.html half/checkpoint.h5").status, 0);
  EXPECT_EQ(bytes_of(path("page.html")), bytes_of(path("half/report.html")));
  const Called resumed =
      call(program("offshoot-hmm") + " --resume half/checkpoint.h5 --threads 2 --out half");
  ASSERT_EQ(resumed.status, 0) << resumed.error;
  ASSERT_EQ(inspect("report --html page.html half/checkpoint.h5").status, 0);
  EXPECT_EQ(bytes_of(path("page.html")), bytes_of(path("half/report.html")));
  EXPECT_EQ(inspect("diff run/checkpoint.h5 half/checkpoint.h5").status, 0);
}

// Nor has one that goes on from where it had one.
TEST_F(InspectProgramTest, ARunThatIsNotFinishedHasNoReport) {
  train("cut", "--steps 1000000 --stop-at 3");
  ASSERT_EQ(inspect("report --html page.html cut/checkpoint.h5").status, 0);
  put_bytes(path("cut.sh"),
            fmt::format("{} --resume cut/checkpoint.h5 --save-every 7 --threads 1 --out cut "
                        "> out.txt 2>&1 &\n"
                        // The run replaces the file meanwhile.
                        "for i in 1 2 3 4 5; do\n"
                        "  sleep 0.1\n"
                        "  {} tree cut/checkpoint.h5 > tree.txt 2>> errors.txt\n"
                        "done\n"
                        "kill -TERM $!\n"
                        "wait $!\n",
                        program("offshoot-hmm"), program("offshoot-inspect")));
  ASSERT_EQ(shell("sh cut.sh"), 0) << bytes_of(path("out.txt"));
  EXPECT_TRUE(contains(bytes_of(path("out.txt")), "Interrupted")) << bytes_of(path("out.txt"));
  EXPECT_EQ(bytes_of(path("errors.txt")), "");
  EXPECT_TRUE(contains(bytes_of(path("tree.txt")), "embedding.weight"));
  EXPECT_FALSE(CheckpointReader(path("cut/checkpoint.h5")).h5().has("report/data"));
  expect_trouble("report --html page.html cut/checkpoint.h5", "report/data is missing");
  expect_trouble("routing cut/checkpoint.h5", "report/data is missing");
  EXPECT_EQ(inspect("lineage cut/checkpoint.h5").status, 0);
}

TEST_F(InspectProgramTest, DiffHasTheStatusOfCmp) {
  train("a");
  train("b");
  train("c", "--seed 1");
  EXPECT_EQ(inspect("diff a/checkpoint.h5 b/checkpoint.h5").status, 0);
  const Called different = inspect("diff a/checkpoint.h5 c/checkpoint.h5");
  EXPECT_EQ(different.status, 1);
  EXPECT_TRUE(contains(different.out, "0 → 1")) << different.out;
  EXPECT_TRUE(contains(different.out, "model/head.weight")) << different.out;
  expect_trouble("diff a/checkpoint.h5 missing.h5", "missing.h5: cannot be opened");
}

TEST_F(InspectProgramTest, BadFilesAreOneLine) {
  train("a", "--save-corpus corpus.h5");
  const std::string good = bytes_of(path("a/checkpoint.h5"));
  const std::vector<std::string> views{"",
                                       "tree ",
                                       "lineage ",
                                       "routing ",
                                       "metrics ",
                                       "export --safetensors out ",
                                       "report --html out "};
  put_bytes(path("bad.h5"), good.substr(0, good.size() / 2));
  put_bytes(path("text.h5"), "no checkpoint at all");
  for (const std::string& view : views) {
    expect_trouble(view + "missing.h5", "missing.h5: cannot be opened: No such file or directory");
    expect_trouble(view + "bad.h5", "bad.h5: is truncated");
    expect_trouble(view + "text.h5", "text.h5: is not a checkpoint");
    expect_trouble(view + "corpus.h5", "corpus.h5: is an HDF5 file of another kind");
    expect_trouble(view + ".", "is not a regular file");
  }
  EXPECT_FALSE(std::filesystem::exists(path("out")));
  EXPECT_EQ(inspect("verify bad.h5").status, 1);
  expect_trouble("verify text.h5", "text.h5: is not a checkpoint");
  expect_trouble("verify corpus.h5", "corpus.h5: is an HDF5 file of another kind");
  expect_trouble("verify missing.h5", "missing.h5: cannot be opened");
}

// Any view of any damage ends in time, with an answer or one line.
TEST_F(InspectProgramTest, FlippedBytesNeitherCrashNorHang) {
  train("a");
  const std::string good = bytes_of(path("a/checkpoint.h5"));
  int64_t troubles = 0;
  for (int round = 0; round < 40; ++round) {
    std::string bad = good;
    // HDF5's structure lies at the file's begin and end.
    uint64_t random = 0x9e3779b97f4a7c15u * static_cast<uint64_t>(round + 1);
    for (int flip = 0; flip < 30; ++flip) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const size_t span = round % 2 == 0 ? 4096 : bad.size() - 512;
      bad[512 + static_cast<size_t>(random >> 33) % span] ^= static_cast<char>(random >> 20 | 1);
    }
    put_bytes(path("bad.h5"), bad);
    const std::string view =
        std::vector<std::string>{"", "tree ", "lineage ", "metrics ", "verify "}[round % 5];
    const Called called = inspect(view + "bad.h5");
    EXPECT_LE(called.status, 2) << view << round;
    if (called.status != 2) continue;
    ++troubles;
    EXPECT_TRUE(contains(called.error, "bad.h5")) << called.error;
    EXPECT_EQ(std::ranges::count(called.error, '\n'), 1) << called.error;
  }
  EXPECT_GT(troubles, 0);
}

TEST_F(InspectProgramTest, OutputThatCannotBeWritten) {
  train("a");
  expect_trouble("export a/checkpoint.h5 --safetensors no/such/out", "no/such");
  expect_trouble("report a/checkpoint.h5 --html no/such/out", "no/such");
  expect_trouble("export a/checkpoint.h5 --safetensors a", "is not a regular file");
  expect_trouble("export a/checkpoint.h5 --safetensors ./a/checkpoint.h5",
                 "got the checkpoint itself");
  EXPECT_EQ(inspect("verify a/checkpoint.h5").status, 0);
  const int status =
      shell(program("offshoot-inspect") + " a/checkpoint.h5 > /dev/full 2> error.txt");
  EXPECT_EQ(WEXITSTATUS(status), 2);
  EXPECT_TRUE(contains(bytes_of(path("error.txt")), "standard output: No space left on device"))
      << bytes_of(path("error.txt"));
  // More than a buffer holds.
  EXPECT_EQ(WEXITSTATUS(shell(program("offshoot-inspect") +
                              " tree a/checkpoint.h5 > /dev/full 2> error.txt")),
            2);
  EXPECT_TRUE(contains(bytes_of(path("error.txt")), "standard output: No space left on device"))
      << bytes_of(path("error.txt"));
}

TEST_F(InspectProgramTest, BadArgumentsAreOneLine) {
  expect_trouble("", "FILE: expected a checkpoint");
  expect_trouble("tree", "FILE: is missing: got the view tree alone");
  expect_trouble("tre x.h5", "VIEW: got tre, expected one of configuration, tree, lineage");
  expect_trouble("tre x.h5", "; the nearest is tree");
  expect_trouble("x.h5 tree", "verify, export, report; it stands before the file");
  expect_trouble("tree a.h5 b.h5", "got 2 files, expected one");
  expect_trouble("diff a.h5", "got 1 files, expected two");
  expect_trouble("tree a.h5 --csv", "--csv: is of metrics only");
  expect_trouble("metrics a.h5 --csv --json", "--csv: got --json too");
  expect_trouble("export a.h5", "--safetensors: expected a file to write");
  expect_trouble("report a.h5", "--html: expected a file to write");
  expect_trouble("a.h5 --colour", "--colour: unknown flag");
  expect_trouble("a.h5 --width 5", "--width: got 5");
}

// A name with a C1 control character and one that turns the direction of writing.
TEST_F(InspectProgramTest, ErrorsMoveNoCursor) {
  expect_trouble("$(printf 'a\\302\\233b\\342\\200\\256.h5')",
                 "a\\u009bb\\u202e.h5: cannot be opened");
  expect_trouble("$(printf -- '--\\302\\233') a.h5", "\\u009b");
}

TEST_F(InspectProgramTest, VersionsOfProgramAndFormat) {
  const Called version = inspect("--version");
  EXPECT_EQ(version.status, 0);
  EXPECT_TRUE(version.out.starts_with("offshoot-inspect ")) << version.out;
  EXPECT_TRUE(version.out.ends_with(
      fmt::format(", reads checkpoints of format version {}\n", kCheckpointVersion)))
      << version.out;
}

TEST_F(InspectProgramTest, HelpNamesEveryView) {
  const Called help = inspect("-h");
  EXPECT_EQ(help.out, inspect("--help").out);
  EXPECT_EQ(help.status, 0);
  for (const char* part :
       {"Usage: offshoot-inspect [OPTIONS] [VIEW] FILE", "tree", "lineage", "routing", "metrics",
        "diff", "verify", "export", "report", "configuration", "--version"}) {
    EXPECT_TRUE(contains(help.out, part)) << part;
  }
  std::istringstream lines(help.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
}

TEST_F(InspectProgramTest, PythonReadsTheSafetensors) {
  train("a");
  const std::string python = python_with("safetensors.numpy");
  if (python.empty()) GTEST_SKIP() << "Python's safetensors is not installed";
  ASSERT_EQ(inspect("export --safetensors m.safetensors a/checkpoint.h5").status, 0);
  const CheckpointReader file(path("a/checkpoint.h5"));
  std::string check =
      "from safetensors import safe_open\nn = 0\n"
      "with safe_open('m.safetensors', 'np') as f:\n"
      "  assert f.metadata()['step'] == '40'\n";
  for (const std::string& name : file.h5().datasets("model")) {
    const std::vector<float> values = file.h5().read<float>(name);
    double sum = 0;
    for (const float value : values) sum += value;
    check += fmt::format(
        "  t = f.get_tensor('{}'); n += 1\n  assert list(t.shape) == {}, t.shape\n"
        "  assert abs(t.astype('f8').sum() - {:.17g}) < 1e-9\n",
        name.substr(6), to_string(file.h5().info(name).shape), sum);
  }
  check += "  assert len(list(f.keys())) == n > 10\n";
  put_bytes(path("check.py"), check);
  EXPECT_EQ(shell(python + " check.py"), 0);
}

// 512 MB of parameters here, 2 GB by the same means: neither read nor held.
TEST_F(InspectProgramTest, TheSummaryOfALargeFileIsQuickAndSmall) {
  {
    CheckpointWriter file(path("large.h5"), {1, 1});
    const std::vector<float> values(32 << 20, 0.5f);
    for (int i = 0; i < 4; ++i) {
      file.h5().write(fmt::format("model/layer.{}.weight", i), {32, 1 << 20}, values,
                      H5Rows::growing);
    }
    file.commit();
  }
  put_bytes(path("measure.sh"),
            fmt::format("{} large.h5 > out.txt & pid=$!; most=0\n"
                        "while kill -0 $pid 2> /dev/null; do\n"
                        "  for p in $pid $(cat /proc/$pid/task/$pid/children 2> /dev/null); do\n"
                        "    kb=$(sed -n 's/VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$p/status "
                        "2> /dev/null)\n"
                        "    [ ${{kb:-0}} -gt $most ] && most=$kb\n"
                        "  done\n"
                        "done\n"
                        "wait $pid; echo $most > most.txt\n",
                        program("offshoot-inspect")));
  ASSERT_EQ(shell("sh measure.sh"), 0);
  EXPECT_TRUE(contains(bytes_of(path("out.txt")), "134,217,728 parameters"));
  const int64_t most_kib = std::stoll(bytes_of(path("most.txt")));
  EXPECT_GT(most_kib, 1024);
  EXPECT_LT(most_kib, 100 * 1024);
  // The best of some: other programs may keep the machine busy.
  auto least = std::chrono::steady_clock::duration::max();
  for (int i = 0; i < 8; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(inspect("large.h5").status, 0);
    least = std::min(least, std::chrono::steady_clock::now() - begin);
  }
  EXPECT_LT(least, std::chrono::seconds(1));
}

}  // namespace
}  // namespace offshoot
