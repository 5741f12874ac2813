// Each planted defect is caught by at least one mode of the emulator, none is reported in the
// same kernel without it. A run is a child process.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "cuda/emulation/engine.h"
#include "tests/cuda/canaries.h"

namespace {

// What a child ends with.
enum Exit : int { kRight = 0, kWrong = 3, kRaced = 4 };

bool in_child = false;

}  // namespace

// TSan calls it for each report that it has written. The first is enough: a planted race happens
// thousands of times, and each costs TSan a search through its history.
extern "C" void __tsan_on_report(void*) {
  if (in_child) _exit(kRaced);
}

namespace offshoot::cuda {
namespace {

using emulation::Order;

constexpr unsigned kDeadlineSeconds = 300;
constexpr int kSeeds = 3;

struct End {
  int status;          // of waitpid
  std::string output;  // stderr

  bool clean() const { return WIFEXITED(status) && WEXITSTATUS(status) == kRight; }
  bool late() const { return WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM; }
};

End run_in_child(const Canary& canary, bool planted, Order order, uint64_t seed) {
  int ends[2];
  if (pipe(ends) != 0) ADD_FAILURE() << "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    alarm(kDeadlineSeconds);
    in_child = true;
    emulation::set_order(order, seed);
    const bool right = canary.run(planted);
    // Not exit(): ASan would look for leaks of the parent.
    _exit(right ? kRight : kWrong);
  }
  close(ends[1]);
  End end{};
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof(buffer))) > 0;) {
    end.output.append(buffer, static_cast<size_t>(got));
  }
  close(ends[0]);
  waitpid(child, &end.status, 0);
  return end;
}

struct Schedule {
  const char* name;
  CaughtBy mode;
  Order order;
  uint64_t seed;
};
std::vector<Schedule> schedules() {
  std::vector<Schedule> all{{"forward", kForward, Order::forward, 0},
                            {"reverse", kReverse, Order::reverse, 0}};
  for (uint64_t seed = 1; seed <= kSeeds; seed++) {
    all.push_back({"random", kRandom, Order::random, seed});
  }
  return all;
}

// The modes of this build, apart from the orders.
unsigned sanitizers() {
  const std::string_view names = OFFSHOOT_SANITIZE;
  const auto has = [&](const char* name) { return names.find(name) != std::string_view::npos; };
  return (has("thread") ? kThreadSanitizer : 0u) | (has("address") ? kAddressSanitizer : 0u) |
         (has("undefined") ? kUndefinedSanitizer : 0u);
}

class CanaryTest : public ::testing::TestWithParam<Canary> {};

TEST_P(CanaryTest, IsCleanWithoutTheDefect) {
  for (const Schedule& schedule : schedules()) {
    const End end = run_in_child(GetParam(), false, schedule.order, schedule.seed);
    EXPECT_TRUE(end.clean()) << schedule.name << ' ' << schedule.seed << ": status " << end.status;
    EXPECT_EQ(end.output, "") << schedule.name << ' ' << schedule.seed;
  }
}

TEST_P(CanaryTest, IsCaught) {
  const Canary& canary = GetParam();
  const unsigned by_sanitizer = canary.caught_by & sanitizers();
  if ((canary.caught_by & kAnyOrder) == 0 && by_sanitizer == 0) {
    GTEST_SKIP() << "only a sanitizer sees it that this build does not have";
  }
  unsigned caught_by = 0;
  for (const Schedule& schedule : schedules()) {
    const End end = run_in_child(canary, true, schedule.order, schedule.seed);
    EXPECT_FALSE(end.late()) << schedule.name << ' ' << schedule.seed;
    if (end.clean()) {
      EXPECT_EQ(by_sanitizer, 0u) << "not seen in order " << schedule.name << ' ' << schedule.seed;
      continue;
    }
    caught_by |= schedule.mode;
    EXPECT_NE(end.output.find(canary.message), std::string::npos)
        << schedule.name << ' ' << schedule.seed << ": " << end.output;
  }
  EXPECT_EQ(caught_by & canary.caught_by & kAnyOrder, canary.caught_by & kAnyOrder) << caught_by;
}

std::vector<Canary> all_canaries() {
  std::vector<Canary> all = barrier_canaries();
  for (const Canary& canary : race_canaries()) all.push_back(canary);
  for (const Canary& canary : misuse_canaries()) all.push_back(canary);
  for (const Canary& canary : copy_canaries()) all.push_back(canary);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Defects, CanaryTest, ::testing::ValuesIn(all_canaries()),
                         [](const auto& canary) { return canary.param.name; });

}  // namespace
}  // namespace offshoot::cuda
