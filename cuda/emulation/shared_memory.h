// The shared memory of the block that runs, static and dynamic. Each block finds it full of 0xFF,
// which is NaN.
#pragma once

#include <cstddef>

namespace offshoot::emulation {

// Before the blocks of a launch.
void prepare_dynamic_shared(size_t bytes);

// Before each block.
void fill_shared();

}  // namespace offshoot::emulation
