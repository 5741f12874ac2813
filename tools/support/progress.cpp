#include "tools/support/progress.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "engine/error.h"

namespace offshoot {

namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr int64_t kPlainLines = 20;
constexpr int kBarColumns = 30;

}  // namespace

double steady_seconds() {
  auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

std::string clock_text(double seconds) {
  auto whole = static_cast<int64_t>(std::ceil(std::max(seconds, 0.0)));
  int64_t minutes = whole / 60;
  if (minutes < 60) return fmt::format("{}:{:02}", minutes, whole % 60);
  return fmt::format("{}:{:02}:{:02}", minutes / 60, minutes % 60, whole % 60);
}

Progress::Progress(std::FILE* stream, Terminal terminal, int64_t steps, int64_t first_step,
                   Clock clock)
    : stream_(stream),
      terminal_(std::move(terminal)),
      steps_(steps),
      first_step_(first_step),
      step_(first_step),
      clock_(clock),
      started_(clock()),
      now_(started_),
      drawn_at_(-HUGE_VAL),
      printed_twentieths_(steps > 0 ? first_step * kPlainLines / steps : 0) {
  OFFSHOOT_CHECK(steps >= 0 && first_step >= 0 && first_step <= steps, "{} of {}", first_step,
                 steps);
}

void Progress::update(int64_t step, std::string_view fields) {
  step_ = step;
  fields_ = fields;
  now_ = clock_();
  bool last = step >= steps_;
  if (terminal_.interactive()) {
    if (last || now_ - drawn_at_ >= kRedrawSeconds) draw();
    return;
  }
  int64_t twentieths = steps_ > 0 ? step * kPlainLines / steps_ : kPlainLines;
  if (twentieths == printed_twentieths_) return;
  printed_twentieths_ = twentieths;
  fmt::print(stream_, "step {}  {}  {}\n", counts(), fields_, pace());
  std::fflush(stream_);
}

void Progress::event(std::string_view line) {
  bool redraw = bar_visible_;
  erase();
  fmt::print(stream_, "{}\n", line);
  if (redraw) draw();
  std::fflush(stream_);
}

void Progress::finish() {
  erase();
  std::fflush(stream_);
}

double Progress::steps_per_second() const {
  double seconds = now_ - started_;
  return seconds > 0 ? static_cast<double>(step_ - first_step_) / seconds : 0;
}

std::string Progress::counts() const { return fmt::format("{}/{}", step_, steps_); }

std::string Progress::pace() const {
  double rate = steps_per_second();
  if (rate <= 0) return "";
  double left = static_cast<double>(steps_ - step_) / rate;
  return fmt::format("{:.{}f} steps/s  {} left", rate, rate < 10 ? 2 : 0, clock_text(left));
}

std::string Progress::bar(int width) const {
  double done = steps_ > 0 ? static_cast<double>(step_) / static_cast<double>(steps_) : 1;
  std::string text =
      fmt::format(" {}  {:.0f}%  {}  {}", counts(), std::floor(100 * done), fields_, pace());
  int columns = std::min(kBarColumns, width - static_cast<int>(text.size()) - 2);
  if (columns >= 5) {
    int filled = static_cast<int>(done * columns);
    std::string line(static_cast<size_t>(filled), '=');
    if (filled < columns) line += '>';
    line.resize(static_cast<size_t>(columns), ' ');
    text = "[" + line + "]" + text;
  }
  return text.substr(0, static_cast<size_t>(std::max(width, 0)));
}

void Progress::erase() {
  if (bar_visible_) fmt::print(stream_, "\r\x1b[K");
  bar_visible_ = false;
}

void Progress::draw() {
  erase();
  // A line that fills the last column would wrap.
  fmt::print(stream_, "{}", bar(terminal_.width() - 1));
  std::fflush(stream_);
  bar_visible_ = true;
  drawn_at_ = now_;
}

}  // namespace offshoot
