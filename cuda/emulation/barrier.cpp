#include "cuda/emulation/barrier.h"

#include <cstring>

#include "cuda/emulation/scheduler.h"

namespace offshoot::emulation {
namespace {

struct Barrier {
  int num_waiting;
  Place place;  // of the first that waits
  const char* what;
  Votes votes;
  unsigned turn;
  Votes last_votes[2];  // by turn: a slow thread may still read the one before
  alignas(8) char order[2][8];
};
Barrier barrier;

OFFSHOOT_UNSANITIZED bool same_place(const Place& a, const Place& b) {
  if (a.line() != b.line() || a.column() != b.column()) return false;
  return (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0) &&
         (a.function_name() == b.function_name() ||
          std::strcmp(a.function_name(), b.function_name()) == 0);
}

OFFSHOOT_UNSANITIZED void open_if_complete() {
  Scheduler& s = scheduler;
  if (barrier.num_waiting != s.num_live) return;
  barrier.last_votes[barrier.turn % 2] = barrier.votes;
  barrier.votes = {0, 0};
  barrier.num_waiting = 0;
  barrier.turn++;
  s.idle_turns = 0;
  for (int i = 0; i < s.num_threads; i++) {
    const int thread = wake_order(i, s.num_threads);
    if (!s.threads[thread].at_barrier) continue;
    s.threads[thread].at_barrier = false;
    wake(thread);
  }
}

}  // namespace

OFFSHOOT_UNSANITIZED Votes meet_block(bool vote, const char* what, Place place) {
  const unsigned turn = barrier.turn % 2;
  release(barrier.order[turn]);
  as_engine();
  if (barrier.num_waiting == 0) {
    barrier.place = place;
    barrier.what = what;
  } else if (!same_place(barrier.place, place)) {
    fail("threads of one block wait at different barriers: %s at %s:%u and %s at %s:%u",
         barrier.what, barrier.place.file_name(), barrier.place.line(), what, place.file_name(),
         place.line());
  }
  (vote ? barrier.votes.yes : barrier.votes.no)++;
  barrier.num_waiting++;
  scheduler.threads[scheduler.current].at_barrier = true;
  open_if_complete();
  wait(what, place);
  const Votes votes = barrier.last_votes[turn];
  as_thread();
  acquire(barrier.order[turn]);
  return votes;
}

OFFSHOOT_UNSANITIZED void barrier_thread_exit() {
  if (barrier.num_waiting > 0) open_if_complete();
}

}  // namespace offshoot::emulation
