#include "cuda/emulation/sanitizers.h"

#ifdef __SANITIZE_THREAD__

#include <algorithm>
#include <cstdint>

#include "cuda/emulation/scheduler.h"

extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_java_alloc(uintptr_t address, uintptr_t bytes);
void __tsan_java_free(uintptr_t address, uintptr_t bytes);
}

namespace offshoot::emulation {
namespace {

constexpr unsigned kNoOrder = 1;  // switching orders nothing

// Blocks take turns with so many disjoint sets of fibers: a barrier orders all of a block, so a
// block that shared any of them with the one before would come after it.
constexpr unsigned kSets = 2;

// Enough of them that blocks of one thread, too, can be seen to race.
constexpr unsigned kLeastInSet = 32;

void* engine;
void* fibers[kSets * kMaxThreads];
unsigned num_in_set, block;

}  // namespace

OFFSHOOT_UNSANITIZED void release(void* clock) { __tsan_release(clock); }
OFFSHOOT_UNSANITIZED void acquire(void* clock) { __tsan_acquire(clock); }

OFFSHOOT_UNSANITIZED void forget(void* begin, size_t bytes) {
  // Made for the heap of Java. To free forgets clocks, to allocate forgets accesses; freed again,
  // so that reports do not call it a part of that heap.
  const auto address = reinterpret_cast<uintptr_t>(begin);
  __tsan_java_free(address, bytes);
  __tsan_java_alloc(address, bytes);
  __tsan_java_free(address, bytes);
}

OFFSHOOT_UNSANITIZED void begin_identities(int num_threads) {
  engine = __tsan_get_current_fiber();
  num_in_set = std::max(static_cast<unsigned>(num_threads), kLeastInSet);
  for (unsigned i = 0; i < kSets * num_in_set; i++) {
    if (fibers[i] == nullptr) fibers[i] = __tsan_create_fiber(0);
  }
}

OFFSHOOT_UNSANITIZED void renew_identities() { block++; }

OFFSHOOT_UNSANITIZED void as_engine() { __tsan_switch_to_fiber(engine, kNoOrder); }

OFFSHOOT_UNSANITIZED void as_thread() {
  const auto thread = static_cast<unsigned>(scheduler.current);
  // Shifted, so that blocks of one set that have no barrier can be seen to race, too.
  const unsigned in_set = (thread + block / kSets) % num_in_set;
  __tsan_switch_to_fiber(fibers[block % kSets * num_in_set + in_set], kNoOrder);
}

}  // namespace offshoot::emulation

#endif
