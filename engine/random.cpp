#include "engine/random.h"

#include <cmath>
#include <numbers>

#include "engine/error.h"

namespace offshoot {

namespace {

constexpr uint64_t kMultiplier0 = 0xD2511F53;
constexpr uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9;  // golden ratio
constexpr uint32_t kWeyl1 = 0xBB67AE85;  // sqrt(3) - 1
constexpr int kRounds = 10;

constexpr uint32_t low(uint64_t word) { return static_cast<uint32_t>(word); }
constexpr uint32_t high(uint64_t word) { return static_cast<uint32_t>(word >> 32); }

std::array<uint32_t, 4> block_at(uint64_t seed, uint64_t stream, uint64_t position) {
  const uint64_t block = position / 4;
  return philox({low(block), high(block), low(stream), high(stream)}, {low(seed), high(seed)});
}

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1),
               high(product0) ^ counter[3] ^ key[1], low(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

uint64_t stream_of(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char letter : name) {
    hash ^= static_cast<unsigned char>(letter);
    hash *= 0x100000001b3;
  }
  return hash;
}

Random::Random(uint64_t seed, uint64_t stream, uint64_t position)
    : seed_(seed), stream_(stream), position_(position) {
  if (position_ % 4 != 0) block_ = block_at(seed_, stream_, position_);
}

uint32_t Random::next_u32() {
  if (position_ % 4 == 0) block_ = block_at(seed_, stream_, position_);
  return block_[position_++ % 4];
}

uint64_t Random::next_u64() {
  const uint64_t first = next_u32();
  return first | static_cast<uint64_t>(next_u32()) << 32;
}

double Random::uniform() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }

int64_t Random::below(int64_t bound) {
  if (bound < 1) fail("random", "bound: got {}, expected at least 1", bound);
  const auto range = static_cast<uint64_t>(bound);
  // The lowest 2^64 mod range values would make some remainders likelier: they are drawn again.
  const uint64_t excess = (0 - range) % range;
  uint64_t value = next_u64();
  while (value < excess) value = next_u64();
  return static_cast<int64_t>(value % range);
}

double Random::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));  // 1 - u is never 0
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

}  // namespace offshoot
