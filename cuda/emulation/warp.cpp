#include "cuda/emulation/warp.h"

#include <cstring>
#include <vector>

#include "cuda/emulation/scheduler.h"

namespace offshoot::emulation {
namespace {

// Where the lanes of one mask meet, again and again.
struct Meeting {
  unsigned mask;
  unsigned arrived;
  const char* what;
  unsigned turn;
  // By turn: a slow lane may still read those of the one before.
  unsigned lanes[2];
  uint64_t values[2][kWarpSize];
};

struct Warp {
  unsigned live_lanes;
  std::vector<Meeting> meetings;
  alignas(8) char order[2][8];  // by turn
};
Warp* const warps = new Warp[kMaxThreads / kWarpSize];  // never destroyed

OFFSHOOT_UNSANITIZED Warp& warp_of(int thread) { return warps[thread / kWarpSize]; }

OFFSHOOT_UNSANITIZED Meeting& find_meeting(Warp& warp, unsigned mask) {
  for (Meeting& meeting : warp.meetings) {
    if (meeting.mask == mask) return meeting;
  }
  Meeting meeting{};
  meeting.mask = mask;
  warp.meetings.push_back(meeting);
  return warp.meetings.back();
}

OFFSHOOT_UNSANITIZED void complete_if_all_arrived(const Warp& warp, Meeting& meeting) {
  if (meeting.arrived != (meeting.mask & warp.live_lanes)) return;
  const int first = scheduler.current / kWarpSize * kWarpSize;
  for (int i = 0; i < kWarpSize; i++) {
    const int lane = wake_order(i, kWarpSize);
    if (meeting.arrived >> lane & 1) wake(first + lane);
  }
  meeting.lanes[meeting.turn % 2] = meeting.arrived;
  meeting.arrived = 0;
  meeting.turn++;
  note_progress();
}

}  // namespace

OFFSHOOT_UNSANITIZED LaneValues meet_warp(unsigned mask, uint64_t value, const char* what,
                                          Place place, Memory memory) {
  const int self = scheduler.current;
  const int lane = self % kWarpSize;
  Warp& warp = warp_of(self);
  as_engine();
  if ((mask >> lane & 1) == 0) {
    fail("%s at %s:%u: lane %d is not in its own mask %#010x", what, place.file_name(),
         place.line(), lane, mask);
  }
  Meeting& meeting = find_meeting(warp, mask);
  if (meeting.arrived == 0) {
    meeting.what = what;
  } else if (meeting.what != what && std::strcmp(meeting.what, what) != 0) {
    fail("lanes of one warp meet in different operations: %s, and %s at %s:%u", meeting.what, what,
         place.file_name(), place.line());
  }
  const unsigned turn = meeting.turn % 2;
  meeting.values[turn][lane] = value;
  meeting.arrived |= 1u << lane;
  if (memory == Memory::ordered) {
    as_thread();
    release(warp.order[turn]);
    as_engine();
  }
  complete_if_all_arrived(warp, meeting);
  wait(what, place);
  const Meeting& met = find_meeting(warp, mask);  // it may have moved
  const LaneValues values{met.values[turn], met.lanes[turn]};
  as_thread();
  if (memory == Memory::ordered) acquire(warp.order[turn]);
  return values;
}

OFFSHOOT_UNSANITIZED int current_lane() { return scheduler.current % kWarpSize; }

OFFSHOOT_UNSANITIZED unsigned live_lanes() { return warp_of(scheduler.current).live_lanes; }

OFFSHOOT_UNSANITIZED void warps_block_begin() {
  for (int left = scheduler.num_threads, i = 0; left > 0; left -= kWarpSize, i++) {
    warps[i].live_lanes = left >= kWarpSize ? ~0u : (1u << left) - 1;
    if (warps[i].meetings.size() > kWarpSize) warps[i].meetings.clear();
  }
}

OFFSHOOT_UNSANITIZED void warp_thread_exit() {
  Warp& warp = warp_of(scheduler.current);
  warp.live_lanes &= ~(1u << current_lane());
  for (Meeting& meeting : warp.meetings) {
    if (meeting.arrived != 0) complete_if_all_arrived(warp, meeting);
  }
}

}  // namespace offshoot::emulation
