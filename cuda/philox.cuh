// Philox4x32-10 in a kernel: the blocks of engine/random.h.
#pragma once

#include "cuda/launch.cuh"

namespace offshoot::cuda {

struct PhiloxBlock {
  uint32_t words[4];
};

// Block number `block` of a stream: words 4 block, ..., 4 block + 3.
__device__ __forceinline__ PhiloxBlock philox(uint64_t seed, uint64_t stream, uint64_t block) {
  const auto low = [](uint64_t word) { return static_cast<uint32_t>(word); };
  const auto high = [](uint64_t word) { return static_cast<uint32_t>(word >> 32); };
  uint32_t c0 = low(block), c1 = high(block), c2 = low(stream), c3 = high(stream);
  uint32_t key0 = low(seed), key1 = high(seed);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * c0;
    const uint64_t product1 = uint64_t{0xCD9E8D57} * c2;
    c0 = high(product1) ^ c1 ^ key0;
    c1 = low(product1);
    c2 = high(product0) ^ c3 ^ key1;
    c3 = low(product0);
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace offshoot::cuda
