// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). The n-th number of a stream is a function of (seed,
// stream, n), so it is the same on every device and for any thread count.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace offshoot {

// One Philox4x32-10 block: 128 random bits from a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// A stream's number from a name, e.g. a parameter's dotted name (FNV-1a, 64 bits).
uint64_t stream_of(std::string_view name);

// A sequence of random numbers. key = seed, counter = (block number, stream). Its whole state is
// (seed, stream, position); position counts 32-bit words drawn so far.
class Random {
 public:
  Random(uint64_t seed, uint64_t stream, uint64_t position = 0);

  uint32_t next_u32();
  uint64_t next_u64();
  double uniform();              // [0, 1), 53 bits, from one next_u64
  int64_t below(int64_t bound);  // [0, bound), without bias. Throws Error when bound < 1
  double normal();               // Box-Muller: two uniforms a number, none kept back

  uint64_t seed() const { return seed_; }
  uint64_t stream() const { return stream_; }
  uint64_t position() const { return position_; }

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t position_;
  std::array<uint32_t, 4> block_{};
};

}  // namespace offshoot
