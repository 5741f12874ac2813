#include "cuda/emulation/warp.h"

#include <cstring>
#include <deque>

#include "cuda/emulation/scheduler.h"

namespace offshoot::emulation {
namespace {

// Where the lanes of one mask meet, again and again.
struct Meeting {
  unsigned mask;
  unsigned arrived;
  const char* what;
  // By turn modulo 2: a slow lane may still read those of the turn before.
  unsigned turn;
  unsigned lanes[2];
  uint64_t values[2][kWarpSize];
  Clock clocks[2];
};

// Of each warp; references to them stay valid. Never destroyed: kernels may run until the end.
using Meetings = std::deque<Meeting>;
Meetings* const meetings_of = new Meetings[kMaxWarps];
constexpr size_t kManyMeetings = 32;

OFFSHOOT_UNSANITIZED Meeting& find_meeting(Meetings& meetings, unsigned mask) {
  for (Meeting& meeting : meetings) {
    if (meeting.mask == mask) return meeting;
  }
  Meeting meeting{};
  meeting.mask = mask;
  meetings.push_back(meeting);
  return meetings.back();
}

OFFSHOOT_UNSANITIZED void complete_if_all_arrived(int warp, Meeting& meeting) {
  Scheduler& s = scheduler;
  if (meeting.arrived != (meeting.mask & s.live_lanes[warp])) return;
  for (int i = 0; i < kWarpSize; i++) {
    const int lane = wake_order(i, kWarpSize);
    if (meeting.arrived >> lane & 1) wake(warp * kWarpSize + lane);
  }
  meeting.lanes[meeting.turn % 2] = meeting.arrived;
  meeting.arrived = 0;
  meeting.turn++;
  s.num_meetings[warp]--;
  s.idle_turns = 0;
}

}  // namespace

OFFSHOOT_UNSANITIZED void begin_warps() {
  for (int warp = 0; warp * kWarpSize < scheduler.num_threads; warp++) {
    Meetings& meetings = meetings_of[warp];
    if (meetings.size() > kManyMeetings) meetings.clear();
    for (Meeting& meeting : meetings) forget(meeting.clocks, sizeof(meeting.clocks));
  }
}

OFFSHOOT_UNSANITIZED void complete_meetings(int warp) {
  for (Meeting& meeting : meetings_of[warp]) {
    if (meeting.arrived != 0) complete_if_all_arrived(warp, meeting);
  }
}

OFFSHOOT_UNSANITIZED LaneValues meet_warp(unsigned mask, uint64_t value, const char* what,
                                          Place place, Memory memory) {
  const int lane = current_lane();
  const int warp = scheduler.current / kWarpSize;
  as_engine();
  if ((mask >> lane & 1) == 0) {
    fail("%s at %s:%u: lane %d is not in its own mask %#010x", what, place.file_name(),
         place.line(), lane, mask);
  }
  Meeting& meeting = find_meeting(meetings_of[warp], mask);
  if (meeting.arrived == 0) {
    meeting.what = what;
    scheduler.num_meetings[warp]++;
  } else if (meeting.what != what && std::strcmp(meeting.what, what) != 0) {
    fail("lanes of one warp meet for different operations: %s, and %s at %s:%u", meeting.what, what,
         place.file_name(), place.line());
  }
  const unsigned turn = meeting.turn % 2;
  meeting.values[turn][lane] = value;
  meeting.arrived |= 1u << lane;
  if (memory == Memory::ordered) {
    as_thread();
    release(&meeting.clocks[turn]);
    as_engine();
  }
  complete_if_all_arrived(warp, meeting);
  wait(what, place);
  const LaneValues values{meeting.values[turn], meeting.lanes[turn]};
  as_thread();
  if (memory == Memory::ordered) acquire(&meeting.clocks[turn]);
  return values;
}

OFFSHOOT_UNSANITIZED int current_lane() { return scheduler.current % kWarpSize; }

OFFSHOOT_UNSANITIZED unsigned live_lanes() {
  return scheduler.live_lanes[scheduler.current / kWarpSize];
}

}  // namespace offshoot::emulation
