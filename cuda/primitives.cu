#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>
#include <cub/device/device_scan.cuh>

#include "cuda/check.h"
#include "cuda/elements.h"
#include "cuda/primitives.h"

namespace offshoot::cuda {

template <class T>
size_t sum_bytes(int64_t count) {
  size_t bytes = 0;
  OFFSHOOT_CUDA_CHECK(cub::DeviceReduce::Sum(nullptr, bytes, static_cast<const T*>(nullptr),
                                             static_cast<T*>(nullptr), count));
  return bytes;
}

template <class T>
void sum(const T* values, int64_t count, T* out, void* scratch, Stream stream) {
  if (count == 0) return fill_zero(out, sizeof(T), stream);
  size_t bytes = sum_bytes<T>(count);
  OFFSHOOT_CUDA_CHECK(cub::DeviceReduce::Sum(scratch, bytes, values, out, count, stream));
}

template <class T>
size_t exclusive_scan_bytes(int64_t count) {
  size_t bytes = 0;
  OFFSHOOT_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(nullptr, bytes, static_cast<const T*>(nullptr),
                                                    static_cast<T*>(nullptr), count));
  return bytes;
}

template <class T>
void exclusive_scan(const T* values, int64_t count, T* out, void* scratch, Stream stream) {
  if (count == 0) return;
  size_t bytes = exclusive_scan_bytes<T>(count);
  OFFSHOOT_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(scratch, bytes, values, out, count, stream));
}

size_t sort_pairs_bytes(int64_t count) {
  size_t bytes = 0;
  const int32_t* const from = nullptr;
  int32_t* const to = nullptr;
  OFFSHOOT_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(nullptr, bytes, from, to, from, to, count));
  return bytes;
}

void sort_pairs(const int32_t* keys, const int32_t* values, int64_t count, int first_bit,
                int last_bit, int32_t* sorted_keys, int32_t* sorted_values, void* scratch,
                Stream stream) {
  if (count == 0) return;
  size_t bytes = sort_pairs_bytes(count);
  OFFSHOOT_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, sorted_keys, values,
                                                      sorted_values, count, first_bit, last_bit,
                                                      stream));
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
