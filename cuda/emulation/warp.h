// Warp operations: the lanes of a mask meet, each with a value, and each sees all values.
#pragma once

#include <type_traits>

#include "cuda/emulation/engine.h"

namespace offshoot::emulation {

struct LaneValues {
  const uint64_t* values;
  unsigned lanes;  // that brought one: those of the mask that have not returned

  OFFSHOOT_UNSANITIZED bool has(int lane) const { return (lanes >> lane & 1) != 0; }
  // Garbage from a lane that brought nothing, as on a GPU.
  OFFSHOOT_UNSANITIZED uint64_t at(int lane) const {
    return has(lane) ? values[lane] : ~uint64_t{0};
  }
};

// Whether the lanes see each other's earlier writes to memory. Of the operations only __syncwarp
// promises that.
enum class Memory { unordered, ordered };

// Meets the lanes of `mask` that have not returned. Fails when the caller is not one of them, and
// when they meet for different operations. The result is good until the caller next waits.
LaneValues meet_warp(unsigned mask, uint64_t value, const char* what, Place place,
                     Memory memory = Memory::unordered);

int current_lane();

// Of the caller's warp: the lanes that have not returned.
unsigned live_lanes();

// What the scheduler tells: a new block begins; a thread of the warp has returned, while others
// wait.
void begin_warps();
void complete_meetings(int warp);

template <class T>
uint64_t to_bits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
T from_bits(uint64_t bits) {
  T value;
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace offshoot::emulation
