// Seconds of a scope, added to a sum.
#pragma once

#include <chrono>

namespace offshoot {

class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() {
    const auto now = std::chrono::steady_clock::now();
    seconds_ += std::chrono::duration<double>(now - start_).count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace offshoot
