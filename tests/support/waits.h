// How often the host may wait for a CUDA device.
#pragma once

#include <cstdint>

namespace offshoot::testing {

// As many as a test allows where there is reason for `most`. An emulated device does at once what
// it is given, unless it is to be late, so there it is none: synchronous copies alone are counted.
int64_t most_waits(int64_t most);

}  // namespace offshoot::testing
