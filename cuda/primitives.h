// Reductions, scans and sorts over a whole device, by CUB.
//
// Scratch  each takes scratch memory, 256-byte aligned, of the bytes that its _bytes function asks
//          for: a bound for the count given, known without a launch.
// Repeat   bitwise repeatable on one device. Sums of numbers are in an order that the count fixes.
// Empty    a count of 0 is legal: the sum is 0.
// Aliasing none of the arrays overlap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/stream.h"

namespace offshoot::cuda {

// *out = the sum of values[0, count). T is float or double, and so is the sum.
template <class T>
size_t sum_bytes(int64_t count);
template <class T>
void sum(const T* values, int64_t count, T* out, void* scratch, Stream stream);

// out[i] = the sum of values[0, i). T is int32_t or int64_t; for offsets of E + 1, count E + 1
// numbers, the last of which is not read into any sum.
template <class T>
size_t exclusive_scan_bytes(int64_t count);
template <class T>
void exclusive_scan(const T* values, int64_t count, T* out, void* scratch, Stream stream);

// Pairs by rising key; equal keys keep their order. Only bits [first_bit, last_bit) of the keys
// count, and keys are not negative where bit 31 does not.
size_t sort_pairs_bytes(int64_t count);
void sort_pairs(const int32_t* keys, const int32_t* values, int64_t count, int first_bit,
                int last_bit, int32_t* sorted_keys, int32_t* sorted_values, void* scratch,
                Stream stream);

}  // namespace offshoot::cuda
