// How often the host may wait for a CUDA device.
#pragma once

#include <cstdint>

namespace offshoot::testing {

// What a test allows that has reason for `most` waits. An emulated device does at once what it is
// given, unless it is to be late: then only synchronous copies are counted, and none is allowed.
int64_t most_waits(int64_t most);

}  // namespace offshoot::testing
