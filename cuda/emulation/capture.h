// What the emulated stream does with the work it is given. launch() and the stand-ins of libraries
// hand theirs over by submit().
#pragma once

#include <functional>

namespace offshoot::emulation {

using Work = std::function<void()>;

// Is the calling thread capturing a graph?
bool capturing();
// Adds to the graph that the calling thread captures.
void record(Work work);

// Runs `work` after all that was submitted before: now, or late, when somebody waits for the
// stream; or records it. Work of several threads runs one after another. Work submits none.
void submit(Work work);

// Late: work waits until somebody waits for the device, so that who does not wait reads old
// values. Off at first, unless the environment has OFFSHOOT_EMULATION_LATE=1.
void run_late(bool on);

}  // namespace offshoot::emulation
