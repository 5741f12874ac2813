// offshoot-hmm's studies and findings as a user calls them; that all six work is study_quick.sh's.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "engine/error.h"
#include "engine/json.h"
#include "tests/engine/file_test.h"

namespace offshoot {
namespace {

class StudyProgramTest : public FileTest {
 protected:
  // The exit status; what it says is in text().
  int call(const std::string& arguments) {
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string program = self.parent_path() / "../../bin/offshoot-hmm";
    const int status = shell(fmt::format("{} {} > text.txt 2>&1", program, arguments));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + status;
  }
  std::string text() const { return bytes_of(path("text.txt")); }

  void expect_refused(const std::string& arguments, const std::string& why) {
    EXPECT_EQ(call(arguments), 2) << arguments;
    EXPECT_TRUE(contains(text(), why)) << text();
    EXPECT_EQ(std::ranges::count(text(), '\n'), 1) << text();
  }
};

TEST_F(StudyProgramTest, BadFlagsAreOneLine) {
  expect_refused("abalte", "abalte: unknown command, the nearest is ablate");
  expect_refused("paper --only nothing", "--only: got nothing, expected one of topk-K5-k1 ");
  expect_refused("paper --seeds 0", "--seeds: got 0");
  expect_refused("paper --jobs 0", "--jobs: got 0");
  expect_refused("paper --flags '--seed 3'", "--flags: got --seed");
  expect_refused("paper --flags '--topk 3'", "--flags: got --topk, which cell topk-K5-k1 sets");
  expect_refused("paper --flags 'seven'", "--flags: got seven, expected a flag");
  expect_refused("findings", "results: got none");
  EXPECT_EQ(call("paper --quick --only topk-K5-k1 --out /proc/no"), 1);
  EXPECT_TRUE(contains(text(), "/proc/no")) << text();
}

TEST_F(StudyProgramTest, AnotherStudysFolderIsNotTaken) {
  ASSERT_EQ(call("paper --quick --only 'topk-K5-*' --out here"), 0) << text();
  const std::string before = bytes_of(path("here/results.json"));
  expect_refused("need --quick --out here", "--out: got here, which has the results of \"paper\"");
  EXPECT_EQ(bytes_of(path("here/results.json")), before);
  ASSERT_EQ(call("paper --quick --only topk-K5-k1 --out here"), 0) << text();
  EXPECT_TRUE(contains(text(), "has 3 cells; these 1 will take their place")) << text();
  EXPECT_EQ(Json::read_file(path("here/results.json")).at("cells").size(), 1);
}

TEST_F(StudyProgramTest, FindingsAreOfTheResults) {
  ASSERT_EQ(call("paper --quick --only '*K5*' --out p"), 0) << text();
  ASSERT_EQ(call("findings p/results.json --out FINDINGS.md"), 0) << text();
  const std::string page = bytes_of(path("FINDINGS.md"));
  EXPECT_TRUE(contains(page, "offshoot-hmm paper --quick --only")) << page;
  expect_refused("findings p/results.json p/results.json", "got another paper");
  put_bytes(path("broken.json"), "{");
  EXPECT_EQ(call("findings broken.json"), 1);
  EXPECT_TRUE(contains(text(), "broken.json")) << text();
}

}  // namespace
}  // namespace offshoot
