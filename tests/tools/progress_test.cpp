#include "tools/support/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace offshoot {
namespace {

double fake_seconds = 0;
double fake_clock() { return fake_seconds; }

// A stream whose text is read back.
class Output {
 public:
  Output() : stream(std::tmpfile()) {}
  ~Output() { std::fclose(stream); }
  std::string text() {
    std::fflush(stream);
    std::rewind(stream);
    std::string all(1 << 16, '\0');
    all.resize(std::fread(all.data(), 1, all.size(), stream));
    return all;
  }
  std::FILE* stream;
};

TEST(Progress, PrintsAboutTwentyPlainLinesOnAPipe) {
  Output output;
  fake_seconds = 0;
  Progress progress(output.stream, Terminal(false, false, 80), 1000, 0, fake_clock);
  for (int step = 1; step <= 1000; ++step) {
    fake_seconds += 0.01;
    progress.update(step, "loss 1.5");
  }
  progress.event("expanded");
  progress.finish();
  std::string text = output.text();
  EXPECT_EQ(std::ranges::count(text, '\n'), 21);
  EXPECT_EQ(text.find('\x1b'), text.npos);
  EXPECT_EQ(text.find('\r'), text.npos);
  EXPECT_TRUE(text.starts_with("step 50/1000  loss 1.5  100 steps/s  0:10 left\n")) << text;
  EXPECT_TRUE(text.ends_with("step 1000/1000  loss 1.5  100 steps/s  0:00 left\nexpanded\n"))
      << text;
}

TEST(Progress, RedrawsATerminalTenTimesASecond) {
  Output output;
  fake_seconds = 0;
  Progress progress(output.stream, Terminal(true, true, 80), 1000, 0, fake_clock);
  for (int step = 1; step <= 100; ++step) {
    fake_seconds = 0.01 * step;
    progress.update(step, "loss 1.5");
  }
  progress.event("expanded");
  progress.finish();
  std::string text = output.text();
  auto bars = std::ranges::count(text, '[') - std::ranges::count(text, '\x1b');
  EXPECT_GE(bars, 10);
  EXPECT_LE(bars, 12);
  EXPECT_EQ(std::ranges::count(text, '\n'), 1);
  EXPECT_NE(text.find("\r\x1b[Kexpanded\n["), text.npos) << text;  // bar away, line, bar again
  EXPECT_TRUE(text.ends_with("\r\x1b[K")) << text;
}

TEST(Progress, BarFitsEveryWidth) {
  Output output;
  fake_seconds = 0;
  Progress progress(output.stream, Terminal(false, false, 80), 2000, 0, fake_clock);
  fake_seconds = 8;
  progress.update(640, "loss 2.31  K 4");
  EXPECT_EQ(
      progress.bar(100),
      "[=========>                    ] 640/2000  32%  loss 2.31  K 4  80 steps/s  0:17 left");
  for (int width = 0; width < 120; ++width) {
    EXPECT_LE(static_cast<int>(progress.bar(width).size()), width);
  }
  EXPECT_TRUE(progress.bar(66).starts_with("[===>"));
  EXPECT_TRUE(progress.bar(20).starts_with(" 640/2000"));
}

TEST(Progress, CountsTheStepsSinceResume) {
  Output output;
  fake_seconds = 100;
  Progress progress(output.stream, Terminal(false, false, 80), 1000, 500, fake_clock);
  EXPECT_EQ(progress.steps_per_second(), 0);
  fake_seconds = 102;
  progress.update(510, "");
  EXPECT_EQ(progress.steps_per_second(), 5);
}

TEST(Progress, WritesDurations) {
  EXPECT_EQ(clock_text(0), "0:00");
  EXPECT_EQ(clock_text(8.2), "0:09");
  EXPECT_EQ(clock_text(60), "1:00");
  EXPECT_EQ(clock_text(3725), "1:02:05");
}

TEST(Terminal, IsPlainOnAPipe) {
  Output output;
  Terminal terminal(output.stream);
  EXPECT_FALSE(terminal.interactive());
  EXPECT_EQ(terminal.bold("x"), "x");
  EXPECT_EQ(terminal.width(), 80);
}

TEST(Terminal, ColoursATerminalUnlessAskedNotTo) {
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0) GTEST_SKIP() << "needs a pseudo-terminal: /dev/ptmx cannot be opened";
  ASSERT_EQ(grantpt(master), 0);
  ASSERT_EQ(unlockpt(master), 0);
  std::FILE* stream = std::fopen(ptsname(master), "w");
  ASSERT_NE(stream, nullptr);
  setenv("TERM", "xterm", 1);
  unsetenv("NO_COLOR");
  EXPECT_TRUE(Terminal(stream).interactive());
  EXPECT_EQ(Terminal(stream).red("x"), "\x1b[31mx\x1b[0m");
  setenv("NO_COLOR", "1", 1);
  EXPECT_TRUE(Terminal(stream).interactive());
  EXPECT_EQ(Terminal(stream).red("x"), "x");
  setenv("TERM", "dumb", 1);
  EXPECT_FALSE(Terminal(stream).interactive());
  std::fclose(stream);
  close(master);
}

}  // namespace
}  // namespace offshoot
