// Plain loops in place of CUB's device-wide algorithms.
#include "cuda/primitives.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "cuda/emulation/capture.h"

namespace offshoot::cuda {
namespace {

// Each algorithm asks for a little memory, and writes all of it, so that its owner's size matters.
constexpr size_t kScratchBytes = 256;

void use_scratch(void* scratch) { std::memset(scratch, 0xff, kScratchBytes); }

// Halves added up, as a tree of any shape does.
template <class T>
T tree_sum(const T* values, int64_t count) {
  if (count <= 64) return std::accumulate(values, values + count, T{0});
  return tree_sum(values, count / 2) + tree_sum(values + count / 2, count - count / 2);
}

// The bits of a key that count, so that unsigned numbers compare as the keys.
uint32_t digits(int32_t key, int first_bit, int last_bit) {
  const uint32_t ordered = static_cast<uint32_t>(key) ^ 0x80000000u;
  const uint64_t mask = (uint64_t{1} << (last_bit - first_bit)) - 1;
  return static_cast<uint32_t>((ordered >> first_bit) & mask);
}

}  // namespace

template <class T>
size_t sum_bytes(int64_t) {
  return kScratchBytes;
}

template <class T>
void sum(const T* values, int64_t count, T* out, void* scratch, Stream stream) {
  emulation::submit(stream, [=] {
    if (count > 0) use_scratch(scratch);
    *out = tree_sum(values, count);
  });
}

template <class T>
size_t exclusive_scan_bytes(int64_t) {
  return kScratchBytes;
}

template <class T>
void exclusive_scan(const T* values, int64_t count, T* out, void* scratch, Stream stream) {
  emulation::submit(stream, [=] {
    if (count > 0) use_scratch(scratch);
    std::exclusive_scan(values, values + count, out, T{0});
  });
}

size_t sort_pairs_bytes(int64_t) { return kScratchBytes; }

void sort_pairs(const int32_t* keys, const int32_t* values, int64_t count, int first_bit,
                int last_bit, int32_t* sorted_keys, int32_t* sorted_values, void* scratch,
                Stream stream) {
  emulation::submit(stream, [=] {
    if (count > 0) use_scratch(scratch);
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), int64_t{0});
    std::ranges::stable_sort(order, {},
                             [&](int64_t i) { return digits(keys[i], first_bit, last_bit); });
    for (int64_t i = 0; i < count; ++i) {
      sorted_keys[i] = keys[order[static_cast<size_t>(i)]];
      sorted_values[i] = values[order[static_cast<size_t>(i)]];
    }
  });
}

template size_t sum_bytes<float>(int64_t);
template size_t sum_bytes<double>(int64_t);
template void sum(const float*, int64_t, float*, void*, Stream);
template void sum(const double*, int64_t, double*, void*, Stream);
template size_t exclusive_scan_bytes<int32_t>(int64_t);
template size_t exclusive_scan_bytes<int64_t>(int64_t);
template void exclusive_scan(const int32_t*, int64_t, int32_t*, void*, Stream);
template void exclusive_scan(const int64_t*, int64_t, int64_t*, void*, Stream);

}  // namespace offshoot::cuda
