// What a program has done on a device so far, for people.
#pragma once

#include <string>

#include "engine/device.h"

namespace offshoot {

// Its name; the most pooled memory that was in use (activations, scratch, what has a fixed shape)
// and the memory of growing rows; how often the host waited; which kernels attention and the
// products of experts ran on. Empty on the CPU.
std::string device_report(Device device);

}  // namespace offshoot
