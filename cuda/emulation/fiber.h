// Fibers: stacks to switch between, on one host thread.
#pragma once

#include <cstddef>

#include "cuda/emulation/sanitizers.h"

namespace offshoot::emulation {

inline constexpr size_t kStackBytes = 260 * 1024;

struct Fiber {
  void* stack_pointer = nullptr;  // while it does not run
  char* stack = nullptr;          // lowest address
  size_t stack_bytes = 0;
  int thread_to_start = -1;  // the scheduler's note to a fiber it switches to
};

// A fiber that calls `run` when first switched to; `run` begins with enter_fiber() and must not
// return. It lives for ever. Below its stack is a page that faults.
Fiber* create_fiber(void (*run)());

// Stands for the stack that the caller runs on.
Fiber* adopt_stack();

// Goes on in `to`, until somebody switches back.
void switch_fiber(Fiber& from, Fiber& to);
void enter_fiber();

}  // namespace offshoot::emulation
