// What stand-ins for device primitives (barriers, warp operations, atomics, cuda/hopper.cuh) are
// made of. A primitive runs as the CUDA thread that calls it; while it touches state that threads
// share it must be the engine, see as_engine() and as_thread() of sanitizers.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>

#include "cuda/emulation/sanitizers.h"

namespace offshoot::emulation {

inline constexpr int kWarpSize = 32;
inline constexpr int kMaxThreads = 1024;  // of a block
inline constexpr int kMaxWarps = kMaxThreads / kWarpSize;

// In which order runnable threads, and blocks, take turns. From OFFSHOOT_EMULATION_ORDER.
enum class Order { forward, reverse, random };
Order order();

// A number of the stream that also draws the random order, seeded by OFFSHOOT_EMULATION_SEED.
uint64_t random_number();

// Instead of the environment's, from the next launch on.
void set_order(Order order, uint64_t seed);

// Where a primitive was called; its default argument is std::source_location::current().
using Place = std::source_location;

// The running thread's number in its block.
int current_thread();

// How many blocks have begun: tells a primitive with state of its own that a new one runs. Blocks
// are not in order for TSan; clocks that outlive one must be forgotten, lest they order the next.
uint64_t block_serial();

// The block's dynamic shared memory, 1024-byte aligned; null where the launch asked for none.
char* dynamic_shared();

// Lets all other runnable threads of the block run before the caller goes on: for waits that poll.
// To be called as the thread. Fails as a livelock when nothing but yielding happens for long.
void yield(const char* what, Place place);

// Tells the livelock check that something happened that a polling thread may wait for.
void note_progress();

// Prints the message with kernel, block and thread, and who waits where; aborts.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char* format, ...);

}  // namespace offshoot::emulation
