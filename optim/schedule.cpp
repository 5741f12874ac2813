#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/error.h"

namespace offshoot {

double Schedule::at(int64_t t) const {
  if (t < 0) fail("schedule", "step: got {}, expected at least 0", t);
  if (warmup_steps < 0 || warmup_steps >= steps) {
    fail("schedule", "warmup_steps: got {}, expected in [0, {})", warmup_steps, steps);
  }
  if (t < warmup_steps) {
    return rate * static_cast<double>(t + 1) / static_cast<double>(warmup_steps);
  }
  const double u = std::min(
      1.0, static_cast<double>(t - warmup_steps) / static_cast<double>(steps - warmup_steps));
  switch (kind) {
    case Kind::constant:
      return rate;
    case Kind::linear:
      return rate * (1 - u);
    case Kind::cosine:
      return rate * (1 + std::cos(std::numbers::pi * u)) / 2;
  }
  fail("bug", "schedule kind {}", static_cast<int>(kind));
}

std::string_view to_string(Schedule::Kind kind) {
  switch (kind) {
    case Schedule::Kind::constant:
      return "constant";
    case Schedule::Kind::linear:
      return "linear";
    case Schedule::Kind::cosine:
      return "cosine";
  }
  return "unknown";
}

Schedule::Kind parse_schedule(std::string_view text) {
  for (const auto kind :
       {Schedule::Kind::constant, Schedule::Kind::linear, Schedule::Kind::cosine}) {
    if (text == to_string(kind)) return kind;
  }
  fail("schedule", "got {}, expected constant, linear or cosine", text);
}

}  // namespace offshoot
