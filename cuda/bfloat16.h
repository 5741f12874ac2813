// bfloat16, the upper half of a float, for code that knows no CUDA headers. Kernels see the same
// bits as __nv_bfloat16.
#pragma once

#include <bit>
#include <cstdint>

namespace offshoot {

struct bfloat16 {
  uint16_t bits;

  friend bool operator==(const bfloat16&, const bfloat16&) = default;
};

constexpr float to_float(bfloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

// Rounds to nearest, ties to even; NaN stays NaN.
constexpr bfloat16 to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace offshoot
