#include "cuda/emulation/barrier.h"

#include <cstring>

#include "cuda/emulation/scheduler.h"

namespace offshoot::emulation {
namespace {

struct Barrier {
  Place place;         // of the first that waits
  Place latest_place;  // of the last one, where TSan sees the engine read it
  const char* what;
  Votes votes;
  // By turn modulo 2: a slow thread may still read those of the turn before.
  unsigned turn;
  Votes last_votes[2];
  Clock clocks[2];
};
Barrier barrier;

OFFSHOOT_UNSANITIZED bool same_place(const Place& a, const Place& b) {
  if (a.line() != b.line() || a.column() != b.column()) return false;
  return (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0) &&
         (a.function_name() == b.function_name() ||
          std::strcmp(a.function_name(), b.function_name()) == 0);
}

}  // namespace

OFFSHOOT_UNSANITIZED void begin_barrier() { forget(barrier.clocks, sizeof(barrier.clocks)); }

OFFSHOOT_UNSANITIZED void open_barrier_if_complete() {
  Scheduler& s = scheduler;
  if (s.num_at_barrier != s.num_live) return;
  barrier.last_votes[barrier.turn % 2] = barrier.votes;
  barrier.votes = {0, 0};
  barrier.turn++;
  s.num_at_barrier = 0;
  s.idle_turns = 0;
  for (int i = 0; i < s.num_threads; i++) {
    const int thread = wake_order(i, s.num_threads);
    if (!s.threads[thread].at_barrier) continue;
    s.threads[thread].at_barrier = false;
    wake(thread);
  }
}

OFFSHOOT_UNSANITIZED Votes meet_block(bool vote, const char* what, Place place) {
  Scheduler& s = scheduler;
  const unsigned turn = barrier.turn % 2;
  release(&barrier.clocks[turn]);
  as_engine();
  barrier.latest_place = place;
  if (s.num_at_barrier == 0) {
    barrier.place = place;
    barrier.what = what;
  } else if (!same_place(barrier.place, barrier.latest_place)) {
    fail("threads of one block wait at different barriers: %s at %s:%u:%u, and %s at %s:%u:%u",
         barrier.what, barrier.place.file_name(), barrier.place.line(), barrier.place.column(),
         what, place.file_name(), place.line(), place.column());
  }
  (vote ? barrier.votes.yes : barrier.votes.no)++;
  s.num_at_barrier++;
  s.threads[s.current].at_barrier = true;
  open_barrier_if_complete();
  wait(what, place);
  const Votes votes = barrier.last_votes[turn];
  as_thread();
  acquire(&barrier.clocks[turn]);
  return votes;
}

}  // namespace offshoot::emulation
