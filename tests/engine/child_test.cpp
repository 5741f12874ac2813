// Children that misbehave: the parent gets an answer in time.
#include "engine/child.h"

#include <gtest/gtest.h>

#include <csignal>
#include <stdexcept>
#include <thread>
#include <vector>

namespace offshoot {
namespace {

using namespace std::chrono_literals;
constexpr int64_t kMiB = int64_t{1} << 20;
const ChildLimits kLimits{20s, 64 * kMiB};

TEST(ChildTest, ReturnsText) {
  const std::string text(300'000, 'x');  // more than a pipe holds
  const ChildEnd end = run_in_child(kLimits, [&] { return text; });
  EXPECT_EQ(end.kind, ChildEnd::Kind::returned);
  EXPECT_EQ(end.text, text);
}

TEST(ChildTest, ReportsACrash) {
  const ChildEnd end = run_in_child(kLimits, []() -> std::string {
    ::raise(SIGSEGV);
    return "";
  });
  EXPECT_EQ(end.kind, ChildEnd::Kind::crashed);
  EXPECT_EQ(end.signal, SIGSEGV);
  const ChildEnd thrown =
      run_in_child(kLimits, []() -> std::string { throw std::runtime_error("no"); });
  EXPECT_EQ(thrown.kind, ChildEnd::Kind::crashed);
}

TEST(ChildTest, EndsAtTheDeadline) {
  const auto begin = std::chrono::steady_clock::now();
  const ChildEnd end = run_in_child({200ms, 64 * kMiB}, []() -> std::string {
    for (;;) std::this_thread::sleep_for(10ms);
  });
  EXPECT_EQ(end.kind, ChildEnd::Kind::late);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST(ChildTest, CannotEatAllMemory) {
  const auto eat = [](int64_t bytes) {
    return [bytes]() -> std::string {
      const std::vector<char> much(static_cast<size_t>(bytes), 'x');
      return std::string(much.begin(), much.begin() + 1);
    };
  };
  EXPECT_EQ(run_in_child({20s, 64 * kMiB}, eat(8 * kMiB)).text, "x");
  EXPECT_EQ(run_in_child({20s, 64 * kMiB}, eat(256 * kMiB)).kind, ChildEnd::Kind::crashed);
}

}  // namespace
}  // namespace offshoot
