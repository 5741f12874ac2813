// CUDA's warp functions.
#pragma once

#include "cuda/emulation/warp.h"

namespace offshoot::emulation {

template <class T, class Source>
T shuffle(unsigned mask, T value, int width, Source source, const char* what, Place place) {
  const LaneValues met = meet_warp(mask, to_bits(value), what, place);
  const int lane = current_lane();
  const int first = lane & ~(width - 1);  // of the lane's segment
  return from_bits<T>(met.at(source(lane, first)));
}

// Combines what the lanes brought, from lane 0 on: combine(result, value, lane).
template <class Result, class Combine>
Result fold(const LaneValues& met, Result result, Combine combine) {
  for (int lane = 0; lane < kWarpSize; lane++) {
    if (met.has(lane)) result = combine(result, met.at(lane), lane);
  }
  return result;
}

// The lanes whose value is `bits`.
inline unsigned lanes_with(const LaneValues& met, uint64_t bits) {
  return fold(met, 0u, [bits](unsigned lanes, uint64_t value, int lane) {
    return lanes | static_cast<unsigned>(value == bits) << lane;
  });
}

template <class T, class Combine>
T reduce(unsigned mask, T value, Combine combine, const char* what, Place place) {
  const LaneValues met = meet_warp(mask, to_bits(value), what, place);
  const int first = __builtin_ctz(met.lanes);
  return fold(met, from_bits<T>(met.at(first)), [&](T result, uint64_t bits, int lane) {
    return lane == first ? result : combine(result, from_bits<T>(bits));
  });
}

}  // namespace offshoot::emulation

// The last parameter of each: where it was called.
#define OFFSHOOT_PLACE offshoot::emulation::Place place = offshoot::emulation::Place::current()

inline void __syncwarp(unsigned mask = ~0u, OFFSHOOT_PLACE) {
  offshoot::emulation::meet_warp(mask, 0, "__syncwarp", place,
                                 offshoot::emulation::Memory::ordered);
}

inline unsigned __activemask() { return offshoot::emulation::live_lanes(); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, OFFSHOOT_PLACE) {
  return offshoot::emulation::shuffle(
      mask, value, width, [=](int, int first) { return first + (source & (width - 1)); },
      "__shfl_sync", place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32, OFFSHOOT_PLACE) {
  return offshoot::emulation::shuffle(
      mask, value, width,
      [=](int lane, int first) {
        return (lane ^ distance) < first + width ? lane ^ distance : lane;
      },
      "__shfl_xor_sync", place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, OFFSHOOT_PLACE) {
  const int by = static_cast<int>(distance);
  return offshoot::emulation::shuffle(
      mask, value, width,
      [=](int lane, int first) { return lane + by < first + width ? lane + by : lane; },
      "__shfl_down_sync", place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, OFFSHOOT_PLACE) {
  const int by = static_cast<int>(distance);
  return offshoot::emulation::shuffle(
      mask, value, width,
      [=](int lane, int first) { return lane - by >= first ? lane - by : lane; }, "__shfl_up_sync",
      place);
}

inline unsigned __ballot_sync(unsigned mask, int vote, OFFSHOOT_PLACE) {
  return offshoot::emulation::lanes_with(
      offshoot::emulation::meet_warp(mask, vote != 0, "__ballot_sync", place), 1);
}
inline int __any_sync(unsigned mask, int vote, OFFSHOOT_PLACE) {
  return offshoot::emulation::lanes_with(
             offshoot::emulation::meet_warp(mask, vote != 0, "__any_sync", place), 1) != 0;
}
inline int __all_sync(unsigned mask, int vote, OFFSHOOT_PLACE) {
  return offshoot::emulation::lanes_with(
             offshoot::emulation::meet_warp(mask, vote != 0, "__all_sync", place), 0) == 0;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, OFFSHOOT_PLACE) {
  const uint64_t bits = offshoot::emulation::to_bits(value);
  return offshoot::emulation::lanes_with(
      offshoot::emulation::meet_warp(mask, bits, "__match_any_sync", place), bits);
}

template <class T>
T __reduce_add_sync(unsigned mask, T value, OFFSHOOT_PLACE) {
  return offshoot::emulation::reduce(
      mask, value, [](T a, T b) { return a + b; }, "__reduce_add_sync", place);
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, OFFSHOOT_PLACE) {
  return offshoot::emulation::reduce(
      mask, value, [](T a, T b) { return b < a ? b : a; }, "__reduce_min_sync", place);
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, OFFSHOOT_PLACE) {
  return offshoot::emulation::reduce(
      mask, value, [](T a, T b) { return a < b ? b : a; }, "__reduce_max_sync", place);
}
