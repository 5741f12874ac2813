#include "cuda/emulation/scheduler.h"

#include "cuda/emulation/barrier.h"
#include "cuda/emulation/language.cuh"
#include "cuda/emulation/warp.h"

namespace offshoot::emulation {

Scheduler scheduler;
Position position;

namespace {

// Yields without anything else happening, until it is called a livelock.
constexpr int64_t kMostIdleTurns = 20'000'000;

Body body;
uint3 index_of[kMaxThreads];  // threadIdx by thread number, for blocks of indexed_shape
dim3 indexed_shape(0, 0, 0);

Fiber* running_fiber;
Fiber* engine_fiber;  // on which run_block() was called
TsanFiber engine_tsan_fiber;
// Without a thread; they wait in run_threads().
int num_idle_fibers;
Fiber* idle_fibers[kMaxThreads + 1];

// The engine and all threads of a block, in order at its beginning and its end.
alignas(8) char beginning[8];
alignas(8) char end[8];

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
  s.num_live--;
  s.idle_turns = 0;
  barrier_thread_exit();
  warp_thread_exit();
}

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
    as_thread();
    acquire(beginning);
    body.run(body.context);
    release(end);
    as_engine();
    exit_thread();
  }
}

OFFSHOOT_UNSANITIZED Fiber* idle_fiber() {
  return num_idle_fibers > 0 ? idle_fibers[--num_idle_fibers] : create_fiber(run_threads);
}

}  // namespace

OFFSHOOT_UNSANITIZED void prepare_threads() {
  Scheduler& s = scheduler;
  const dim3 shape = position.block_shape;
  s.num_threads = static_cast<int>(shape.x * shape.y * shape.z);
  engine_tsan_fiber = current_tsan_fiber();
  running_fiber = engine_fiber = adopt_stack();
  if (shape.x == indexed_shape.x && shape.y == indexed_shape.y && shape.z == indexed_shape.z)
    return;
  indexed_shape = shape;
  for (int i = 0; i < s.num_threads; i++) {
    const auto number = static_cast<unsigned>(i);
    index_of[i] = {number % shape.x, number / shape.x % shape.y, number / shape.x / shape.y};
    s.unstarted[i] = i;
    if (kThreadSanitizer && s.threads[i].tsan_fiber == nullptr) {
      s.threads[i].tsan_fiber = create_tsan_fiber();
    }
  }
}

OFFSHOOT_UNSANITIZED void run_block(const Body& new_body) {
  Scheduler& s = scheduler;
  body = new_body;
  s.num_live = s.num_unstarted = s.num_threads;
  warps_block_begin();
  release(beginning);
  switch_to(idle_fiber());
  acquire(end);
  s.current = -1;
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

OFFSHOOT_UNSANITIZED void wake(int thread) { scheduler.ready.push(thread); }

OFFSHOOT_UNSANITIZED int wake_order(int index, int count) {
  // The last one woken runs first.
  return scheduler.order == Order::reverse ? index : count - 1 - index;
}

OFFSHOOT_UNSANITIZED int current_thread() { return scheduler.current; }

OFFSHOOT_UNSANITIZED void as_engine() { become(engine_tsan_fiber); }
OFFSHOOT_UNSANITIZED void as_thread() { become(scheduler.threads[scheduler.current].tsan_fiber); }

OFFSHOOT_UNSANITIZED void note_progress() { scheduler.idle_turns = 0; }

OFFSHOOT_UNSANITIZED void yield(const char* what, Place place) {
  as_engine();
  if (++scheduler.idle_turns > kMostIdleTurns) fail("livelock: threads only poll");
  scheduler.yielding.push(scheduler.current);
  wait(what, place);
  as_thread();
}

}  // namespace offshoot::emulation
