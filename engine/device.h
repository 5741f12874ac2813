// Where a tensor's numbers live.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace offshoot {

// Whether this build has the CUDA backend. Code that calls it stands behind `if constexpr`.
#ifdef OFFSHOOT_HAS_CUDA
inline constexpr bool kHasCuda = true;
#else
inline constexpr bool kHasCuda = false;
#endif

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;  // of the CUDA device; 0 on the CPU

  bool is_cuda() const { return kind == Kind::cuda; }

  friend bool operator==(const Device&, const Device&) = default;
};

std::string to_string(const Device& device);  // "cpu", "cuda:0"

// For people: "cpu", or "NVIDIA H100 (cuda:0)".
std::string describe(const Device& device);

// Reads "cpu", "cuda" or "cuda:<n>". Throws Error for anything else, where this build has no CUDA,
// and where the machine has no such device or one that is too old.
Device parse_device(std::string_view text);

// Waits until all that was begun on the device is done. Nothing to do on the CPU.
void synchronize(Device device);

// How often the program has waited for the device so far: a training step has no reason to.
int64_t device_waits();

}  // namespace offshoot
