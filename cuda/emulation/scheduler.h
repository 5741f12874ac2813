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
  TsanFiber tsan_fiber;
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

// Before the blocks of a launch: `position` has their shape.
void prepare_threads();

// Runs all threads of the block that `position` describes.
void run_block(const Body& body);

// The current thread waits until somebody wakes it.
void wait(const char* what, Place place);

// To wake several of `count` threads, go through wake_order(0 ... count - 1).
void wake(int thread);
int wake_order(int index, int count);

}  // namespace offshoot::emulation
