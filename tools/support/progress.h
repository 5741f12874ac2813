// The progress of a loop: one line that redraws itself on a terminal, some plain lines elsewhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "tools/support/terminal.h"

namespace offshoot {

// Seconds of a clock that never goes back.
double steady_seconds();

class Progress {
 public:
  using Clock = double (*)();

  // Counts from `first_step` steps done (more than 0 after --resume) to `steps`. `stream` outlives
  // this object.
  Progress(std::FILE* stream, Terminal terminal, int64_t steps, int64_t first_step = 0,
           Clock clock = steady_seconds);
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `step` steps are done; `fields` says how it stands: "loss 2.31  K 4  active 1.8". A terminal
  // is redrawn ten times a second at most; a pipe gets about 20 lines in all.
  void update(int64_t step, std::string_view fields);

  // A line of its own, above the bar.
  void event(std::string_view line);

  // Takes the bar away. More events may follow, no updates.
  void finish();

  // Over all steps since the start, up to the last update; 0 before the first.
  double steps_per_second() const;

  // "[====>    ]  640/2000  32%  FIELDS  145 steps/s  0:09 left", in `width` columns at most: the
  // bar shrinks, then the end is cut.
  std::string bar(int width) const;

 private:
  std::string counts() const;
  std::string pace() const;
  void erase();
  void draw();

  std::FILE* stream_;
  Terminal terminal_;
  int64_t steps_;
  int64_t first_step_;
  int64_t step_;
  Clock clock_;
  double started_;
  double now_;
  double drawn_at_;
  int64_t printed_twentieths_;
  std::string fields_;
  bool bar_visible_ = false;
};

// 9 -> "0:09", 3725 -> "1:02:05".
std::string clock_text(double seconds);

}  // namespace offshoot
