// Learning-rate schedules.
#pragma once

#include <cstdint>
#include <string_view>

namespace offshoot {

// With W = warmup_steps and S = steps, for step t = 0, 1, ...:
//   t < W      rate (t + 1) / W
//   constant   rate
//   linear     rate (1 - u)              u = (t - W) / (S - W), 0 from S on
//   cosine     rate (1 + cos(pi u)) / 2  (Loshchilov, Hutter 2016, arXiv 1608.03983, one cycle)
struct Schedule {
  enum class Kind { constant, linear, cosine };
  Kind kind = Kind::constant;
  double rate = 1e-3;
  int64_t steps = 1;
  int64_t warmup_steps = 0;

  // Throws Error when t < 0, or steps and warmup_steps do not satisfy 0 <= W < S.
  double at(int64_t t) const;
};

std::string_view to_string(Schedule::Kind kind);
Schedule::Kind parse_schedule(std::string_view text);  // throws Error

}  // namespace offshoot
