// What the examples of tools/examples claim: their output, and that it means what they say.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "tests/engine/file_test.h"

namespace offshoot {
namespace {

class ExamplesTest : public FileTest {
 protected:
  // Runs the example in the test's folder. Returns what it printed; fails unless it ends with 0.
  std::string run(const std::string& name) const {
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string program = self.parent_path() / "../../examples" / name;
    const int status = shell(fmt::format("{} > out.txt 2> error.txt", program));
    EXPECT_EQ(status, 0) << bytes_of(path("error.txt"));
    return bytes_of(path("out.txt"));
  }
};

// The numbers that the groups of `pattern` match in `text`; fails when it does not match.
std::vector<double> numbers(const std::string& text, const std::string& pattern) {
  std::smatch match;
  if (!std::regex_search(text, match, std::regex(pattern))) {
    ADD_FAILURE() << "expected " << pattern << " in\n" << text;
    return std::vector<double>(9, std::nan(""));
  }
  std::vector<double> all;
  for (size_t i = 1; i < match.size(); ++i) all.push_back(std::stod(match[i]));
  return all;
}

TEST_F(ExamplesTest, TrainAndGrow) {
  const std::string out = run("train_and_grow");
  const std::string line = " growth: loss (.*) after 400 steps, (.*) after 1000, ([0-9]+) experts";
  const auto without = numbers(out, "without" + line), with = numbers(out, "with" + line);
  EXPECT_EQ(without[2], 2);
  EXPECT_EQ(with[2], 4);
  EXPECT_EQ(without[0], with[0]);        // the same run as far as that
  EXPECT_LT(without[1], without[0]);     // learns
  EXPECT_LT(with[1], 0.7 * without[1]);  // and better so
  numbers(out, "expert 2 came from expert 0 in step 400, by hand");
  numbers(out, "expert 3 came from expert 1 in step 400, by hand");
}

TEST_F(ExamplesTest, OwnRouter) {
  const std::string out = run("own_router");
  EXPECT_LT(numbers(out, "step 500: loss (.*)")[0], 0.2 * numbers(out, "step 0: loss (.*)")[0]);
  numbers(out, "tokens at the centres: 4 of 4 go to their expert");
  numbers(out, "a fifth expert: centres \\[5, 4\\]");
}

TEST_F(ExamplesTest, OwnGrowthPolicy) {
  const std::string out = run("own_growth_policy");
  const double before = numbers(out, "^step [0-9]+99: mean loss (.*), expert 0 -> 1\n")[0];
  const auto end = numbers(out, "([0-9]+) experts: loss (.*)\n$");
  EXPECT_GE(end[0], 4);
  EXPECT_LE(end[0], 8);
  EXPECT_LT(end[1], 0.3 * before);
  EXPECT_EQ(std::ranges::count(out, '\n'), end[0]);  // a line for each growth, and the last
}

TEST_F(ExamplesTest, GrowthPolicies) {
  const std::string out = run("growth_policies");
  const auto of = [&](const std::string& policy) {
    return numbers(out, policy + " +([0-9]+) experts, loss ([0-9.]+)");
  };
  EXPECT_EQ(of("never")[0], 2);
  for (const char* policy : {"schedule", "random"}) EXPECT_EQ(of(policy)[0], 6) << policy;
  for (const char* policy : {"mass", "dynmoe"}) {
    EXPECT_GT(of(policy)[0], 2) << policy;
    EXPECT_LE(of(policy)[0], 6) << policy;
  }
  EXPECT_LT(of("mass")[1], of("never")[1]);
}

TEST_F(ExamplesTest, FineTune) {
  const std::string out = run("fine_tune");
  EXPECT_LT(numbers(out, "four classes: loss (.*), 3 experts")[0], 0.3);
  numbers(out, "taken 5: .*model.moe.fc1.weight.*\nmissing 0\nignored 2: .*model.head.weight");
  const auto second = numbers(out, "two classes: loss (.*) at first, (.*) at last, 3 experts");
  EXPECT_GT(second[0], 0.5);  // ln 2, give or take: the new head knows nothing
  EXPECT_LT(second[1], 0.2);
  numbers(out, "a frozen parameter: not a bit has changed");
}

TEST_F(ExamplesTest, NewClasses) {
  const std::string out = run("new_classes");
  const std::string line = ": ([0-9]+) experts, accuracy on old classes (.*)%, on new ones (.*)%";
  const auto going_on = numbers(out, "going on" + line), few = numbers(out, "examples" + line),
             growing = numbers(out, "growing" + line);
  EXPECT_LT(going_on[1], 10);  // forgotten
  EXPECT_GT(growing[1], few[1] + 10);
  EXPECT_GT(growing[1], 70);
  EXPECT_GT(growing[2], 85);
  EXPECT_EQ(few[0], 2);
  EXPECT_EQ(growing[0], 4);
}

TEST_F(ExamplesTest, OwnOperation) {
  const std::string out = run("own_operation");
  EXPECT_LT(numbers(out, "rms_norm: gradient error (.*)")[0], 1e-6);
  EXPECT_GT(numbers(out, "without the term of rms: gradient error (.*)")[0], 1e-2);
}

}  // namespace
}  // namespace offshoot
