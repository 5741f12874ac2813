// SIGINT and SIGTERM as a wish to stop.
#pragma once

#include <csignal>

namespace offshoot {

// Catches both while it lives, one at a time. A second signal ends the program as usual.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool interrupted();

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

}  // namespace offshoot
