// CUDA's atomic functions, relaxed as there: they order no other memory, and TSan knows.
#pragma once

#include <cuda_bf16.h>

#include "cuda/emulation/engine.h"

namespace offshoot::emulation {

// In random order, and where one thread does nothing else for long (it may spin for a lock), other
// threads take a turn before the atomic operation.
void before_atomic(Place place);

// A fence orders the caller's accesses with those of every other thread that fences.
void fence();

// *at = change(*at) in one piece; the value before.
template <class T, class Change>
T update(T* at, Change change, Place place) {
  before_atomic(place);
  T before;
  __atomic_load(at, &before, __ATOMIC_RELAXED);
  for (;;) {
    T after = change(before);
    if (__atomic_compare_exchange(at, &before, &after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
      return before;
    }
  }
}

}  // namespace offshoot::emulation

// T atomicName(T* at, T value) for each type: *at becomes `after`, made of `before` and `value`.
#define OFFSHOOT_ATOMIC(Name, T, after)                                                     \
  inline T Name(T* at, T value,                                                             \
                offshoot::emulation::Place place = offshoot::emulation::Place::current()) { \
    return offshoot::emulation::update(                                                     \
        at, [=]([[maybe_unused]] T before) -> T { return after; }, place);                  \
  }

OFFSHOOT_ATOMIC(atomicAdd, int, before + value)
OFFSHOOT_ATOMIC(atomicAdd, unsigned, before + value)
OFFSHOOT_ATOMIC(atomicAdd, unsigned long long, before + value)
OFFSHOOT_ATOMIC(atomicAdd, float, before + value)
OFFSHOOT_ATOMIC(atomicAdd, double, before + value)
OFFSHOOT_ATOMIC(atomicAdd, __nv_bfloat16,
                __float2bfloat16(__bfloat162float(before) + __bfloat162float(value)))
OFFSHOOT_ATOMIC(atomicSub, int, before - value)
OFFSHOOT_ATOMIC(atomicSub, unsigned, before - value)
OFFSHOOT_ATOMIC(atomicMin, int, before < value ? before : value)
OFFSHOOT_ATOMIC(atomicMin, unsigned, before < value ? before : value)
OFFSHOOT_ATOMIC(atomicMin, unsigned long long, before < value ? before : value)
OFFSHOOT_ATOMIC(atomicMax, int, before > value ? before : value)
OFFSHOOT_ATOMIC(atomicMax, unsigned, before > value ? before : value)
OFFSHOOT_ATOMIC(atomicMax, unsigned long long, before > value ? before : value)
OFFSHOOT_ATOMIC(atomicAnd, int, before& value)
OFFSHOOT_ATOMIC(atomicAnd, unsigned, before& value)
OFFSHOOT_ATOMIC(atomicOr, int, before | value)
OFFSHOOT_ATOMIC(atomicOr, unsigned, before | value)
OFFSHOOT_ATOMIC(atomicXor, int, before ^ value)
OFFSHOOT_ATOMIC(atomicXor, unsigned, before ^ value)
OFFSHOOT_ATOMIC(atomicExch, int, value)
OFFSHOOT_ATOMIC(atomicExch, unsigned, value)
OFFSHOOT_ATOMIC(atomicExch, unsigned long long, value)
OFFSHOOT_ATOMIC(atomicExch, float, value)

#undef OFFSHOOT_ATOMIC

template <class T>
T atomicCAS(T* at, T expected, T value,
            offshoot::emulation::Place place = offshoot::emulation::Place::current()) {
  return offshoot::emulation::update(
      at, [=](T before) { return before == expected ? value : before; }, place);
}

inline void __threadfence() { offshoot::emulation::fence(); }
inline void __threadfence_block() { offshoot::emulation::fence(); }

// Waits that poll sleep, on a GPU and here.
inline void __nanosleep(unsigned,
                        offshoot::emulation::Place place = offshoot::emulation::Place::current()) {
  offshoot::emulation::yield("__nanosleep", place);
}
