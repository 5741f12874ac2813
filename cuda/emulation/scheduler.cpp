#include "cuda/emulation/scheduler.h"

#include "cuda/emulation/barrier.h"
#include "cuda/emulation/language.cuh"
#include "cuda/emulation/warp.h"

namespace offshoot::emulation {

Scheduler scheduler;
Position position;

namespace {

// Yields without anything else happening, until it is called a livelock.
constexpr int64_t kMostIdleTurns = 2'000'000;

Body body;
uint3 index_of[kMaxThreads];  // threadIdx by thread number, for blocks of indexed_shape
dim3 indexed_shape(0, 0, 0);

Fiber* running_fiber;
Fiber* engine_fiber;  // on which run_block() was called
// Without a thread; they wait in run_threads().
int num_idle_fibers;
Fiber* idle_fibers[kMaxThreads + 1];

// The engine comes before all threads of a block, and after all those of a grid.
Clock beginning, end;

OFFSHOOT_UNSANITIZED void switch_to(Fiber* fiber) {
  Fiber* from = running_fiber;
  running_fiber = fiber;
  switch_fiber(*from, *fiber);
}

OFFSHOOT_UNSANITIZED void set_current(int thread) {
  scheduler.current = thread;
  position.thread = index_of[thread];
}

OFFSHOOT_UNSANITIZED int pick_random() {
  Scheduler& s = scheduler;
  const auto count = static_cast<uint64_t>(s.num_unstarted + s.ready.size());
  const int index = static_cast<int>(random_number() % count);
  if (index >= s.num_unstarted) return s.ready.take(index - s.num_unstarted);
  // Swapped, not removed, so that the next block finds all numbers again.
  const int thread = s.unstarted[index];
  s.unstarted[index] = s.unstarted[--s.num_unstarted];
  s.unstarted[s.num_unstarted] = thread;
  return thread;
}

// Takes the next thread to run; -1 if none can.
OFFSHOOT_UNSANITIZED int pick() {
  Scheduler& s = scheduler;
  if (s.ready.size() == 0 && s.num_unstarted == 0) {
    while (s.yielding.size() > 0) s.ready.push(s.yielding.pop());
    if (s.ready.size() == 0) return -1;
  }
  if (s.order == Order::random) return pick_random();
  if (s.ready.size() > 0) return s.ready.pop();
  const int left = s.num_unstarted--;
  return s.order == Order::forward ? s.num_threads - left : left - 1;
}

// The current thread has returned.
OFFSHOOT_UNSANITIZED void exit_thread() {
  Scheduler& s = scheduler;
  const int warp = s.current / kWarpSize;
  s.num_live--;
  s.live_lanes[warp] &= ~(1u << s.current % kWarpSize);
  s.idle_turns = 0;
  if (s.num_at_barrier > 0) open_barrier_if_complete();
  if (s.num_meetings[warp] > 0) complete_meetings(warp);
}

// The threads that run on a fiber one after another leave nothing to each other on its stack.
#ifdef __SANITIZE_THREAD__
OFFSHOOT_UNSANITIZED void forget_stack() {
  constexpr size_t kDepth = 16 * 1024;  // that kernels use
  char* const here = static_cast<char*>(__builtin_frame_address(0));
  forget(here - kDepth, kDepth + 16);
}
#else
void forget_stack() {}
#endif

// What every fiber does: runs threads from their beginning, one after another.
OFFSHOOT_UNSANITIZED void run_threads() {
  enter_fiber();
  Scheduler& s = scheduler;
  Fiber* self = running_fiber;
  for (;;) {
    int thread = self->thread_to_start;
    self->thread_to_start = -1;
    if (thread < 0) thread = pick();
    if (thread < 0) {
      if (s.num_live != 0) fail("deadlock: every thread waits");
      idle_fibers[num_idle_fibers++] = self;
      switch_to(engine_fiber);
      continue;
    }
    set_current(thread);
    if (s.threads[thread].fiber != nullptr) {
      idle_fibers[num_idle_fibers++] = self;
      switch_to(s.threads[thread].fiber);
      continue;
    }
    forget_stack();
    as_thread();
    acquire(&beginning);
    body.run(body.context);
    release(&end);
    as_engine();
    exit_thread();
  }
}

OFFSHOOT_UNSANITIZED Fiber* idle_fiber() {
  return num_idle_fibers > 0 ? idle_fibers[--num_idle_fibers] : create_fiber(run_threads);
}

}  // namespace

OFFSHOOT_UNSANITIZED void begin_grid() {
  Scheduler& s = scheduler;
  const dim3 shape = position.block_shape;
  s.num_threads = static_cast<int>(shape.x * shape.y * shape.z);
  s.current = -1;
  engine_fiber = running_fiber = adopt_stack();
  begin_identities(s.num_threads);
  if (shape.x == indexed_shape.x && shape.y == indexed_shape.y && shape.z == indexed_shape.z)
    return;
  indexed_shape = shape;
  for (int i = 0; i < s.num_threads; i++) {
    const auto number = static_cast<unsigned>(i);
    index_of[i] = {number % shape.x, number / shape.x % shape.y, number / shape.x / shape.y};
    s.unstarted[i] = i;
  }
}

OFFSHOOT_UNSANITIZED void end_grid() { acquire(&end); }

OFFSHOOT_UNSANITIZED void run_block(const Body& new_body) {
  Scheduler& s = scheduler;
  body = new_body;
  s.num_live = s.num_unstarted = s.num_threads;
  for (int first = 0; first < s.num_threads; first += kWarpSize) {
    const int left = s.num_threads - first;
    s.live_lanes[first / kWarpSize] = left < kWarpSize ? (1u << left) - 1 : ~0u;
  }
  renew_identities();
  begin_barrier();
  begin_warps();
  release(&beginning);
  switch_to(idle_fiber());
}

OFFSHOOT_UNSANITIZED void wait(const char* what, Place place) {
  Scheduler& s = scheduler;
  const int self = s.current;
  Thread& thread = s.threads[self];
  thread.waits_for = what;
  thread.place = place;
  const int next = pick();
  if (next < 0) fail("deadlock: every thread waits");
  if (next != self) {
    thread.fiber = running_fiber;
    set_current(next);
    Fiber* fiber = s.threads[next].fiber;
    if (fiber == nullptr) {
      fiber = idle_fiber();
      fiber->thread_to_start = next;
    }
    switch_to(fiber);
    set_current(self);
    thread.fiber = nullptr;
  }
  thread.waits_for = nullptr;
}

OFFSHOOT_UNSANITIZED int current_thread() { return scheduler.current; }

OFFSHOOT_UNSANITIZED void note_progress() { scheduler.idle_turns = 0; }

OFFSHOOT_UNSANITIZED void yield(const char* what, Place place) {
  as_engine();
  if (++scheduler.idle_turns > kMostIdleTurns) fail("livelock: threads only poll");
  scheduler.yielding.push(scheduler.current);
  wait(what, place);
  as_thread();
}

}  // namespace offshoot::emulation
