// Where a tensor's numbers live.
#pragma once

#include <string>
#include <string_view>

namespace offshoot {

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;  // of the CUDA device; 0 on the CPU

  friend bool operator==(const Device&, const Device&) = default;
};

std::string to_string(const Device& device);  // "cpu", "cuda:0"

// Reads "cpu", "cuda" or "cuda:<n>". Throws Error for anything else, and for CUDA where this build
// has none.
Device parse_device(std::string_view text);

}  // namespace offshoot
