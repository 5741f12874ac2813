// The threads of one block, taking turns on fibers. Only the engine calls this.
//
// A thread begins on the fiber of the one that ran before it, if that has returned: a block whose
// threads never wait runs as a plain loop on one fiber. Threads that wait keep their fiber.
#pragma once

#include "cuda/emulation/engine.h"
#include "cuda/emulation/fiber.h"

namespace offshoot::emulation {

struct Thread {
  Fiber* fiber;           // null unless it has begun and waits
  const char* waits_for;  // null unless it waits
  Place place;
  bool at_barrier;
};

// Thread numbers, last in, first out.
class ThreadStack {
 public:
  int size() const { return size_; }
  void push(int thread) { threads_[size_++] = thread; }
  int pop() { return threads_[--size_]; }
  // The last one fills the gap.
  int take(int index) {
    const int thread = threads_[index];
    threads_[index] = threads_[--size_];
    return thread;
  }

 private:
  int size_;
  int threads_[kMaxThreads];
};

struct Scheduler {
  Order order;
  int num_threads;  // of the block
  int num_live;     // that have not returned
  int current;
  // Threads that have not begun: the last ones in the order, or in random order the first
  // `num_unstarted` of `unstarted`.
  int num_unstarted;
  ThreadStack ready, yielding;
  int64_t idle_turns;  // yields since anything happened
  int num_at_barrier;
  unsigned live_lanes[kMaxWarps];
  int num_meetings[kMaxWarps];  // of some lanes of the warp, that others keep waiting
  Thread threads[kMaxThreads];
  int unstarted[kMaxThreads];
};
extern Scheduler scheduler;

// Reads the order from the environment unless it was set. Throws Error for a bad value.
void set_order_once();

// What each thread does.
struct Body {
  void (*run)(void* context);
  void* context;
};

// Around the blocks of a launch; `position` has their shape.
void begin_grid();
void end_grid();

// Runs all threads of the block that `position` describes.
void run_block(const Body& body);

// The current thread waits until somebody wakes it.
void wait(const char* what, Place place);

OFFSHOOT_UNSANITIZED inline void wake(int thread) { scheduler.ready.push(thread); }

// To wake several of `count` threads, go through wake_order(0 ... count - 1): the last one that is
// woken runs first.
OFFSHOOT_UNSANITIZED inline int wake_order(int index, int count) {
  return scheduler.order == Order::reverse ? index : count - 1 - index;
}

}  // namespace offshoot::emulation
