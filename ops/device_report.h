// What a program has done on a device so far, for people.
#pragma once

#include <string>

#include "engine/device.h"

namespace offshoot {

// Lines "device ...": its name, the most memory that activations took, that of parameters and
// optimizer states, how often the host waited, and which kernels attention and the products of
// experts ran on. Empty on the CPU.
std::string device_report(Device device);

}  // namespace offshoot
