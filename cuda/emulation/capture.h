// What emulated streams do with the work they are given. launch() and the stand-ins of libraries
// hand theirs over by submit().
#pragma once

#include <functional>

#include "cuda/stream.h"

namespace offshoot::emulation {

using Work = std::function<void()>;

// Is the calling thread capturing a graph?
bool capturing();

// Runs `work` after all that was submitted to the stream's device before: now, or late, when
// somebody waits for that device; or records it in the graph that the thread captures. Work of
// several threads runs one after another. Work submits none. Throws Error where another device is
// the calling thread's current one, as CUDA does. A null stream is the current device's.
void submit(cuda::Stream stream, Work work);

// Late: work waits until somebody waits for its device, so that who does not wait reads old
// values. Off at first, unless the environment has OFFSHOOT_EMULATION_LATE=1.
void run_late(bool on);

}  // namespace offshoot::emulation
