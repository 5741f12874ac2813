// What TSan must be told of fibers; nothing without it.
//
// TSan takes every CUDA thread for a thread of its own and the engine for one more. It sees no
// order between them but what release() and acquire() state, so it finds the races of a kernel,
// and those between blocks, although only one thread runs at a time.
#pragma once

#include <cstddef>

#if !defined(__GNUC__) || defined(__clang__)
#error "the emulator needs g++, for the attribute noinit and the TSan of g++ 12"
#endif

// For the engine's own functions: TSan must neither see their accesses nor count their calls, as
// they may begin as one thread and return as another.
#ifdef __SANITIZE_THREAD__
#define OFFSHOOT_UNSANITIZED __attribute__((no_sanitize("thread"), noinline))
#else
#define OFFSHOOT_UNSANITIZED
#endif

namespace offshoot::emulation {

// Something to synchronise by: who acquires it comes after all who released it. It may be any
// object, but TSan keeps only one for each 8-byte cell of memory.
struct Clock {
  alignas(8) char cell[8];
};

#ifdef __SANITIZE_THREAD__

void release(void* clock);
void acquire(void* clock);

// As if the memory were new: nobody has used it yet, or its clocks.
void forget(void* begin, size_t bytes);

// For a grid with blocks of so many threads; the caller is the engine.
void begin_identities(int num_threads);

// A block's threads are not those with the same numbers of the block before.
void renew_identities();

// From as_engine() to as_thread(), what is done is the engine's doing, else the current thread's.
// Calls of functions that are not OFFSHOOT_UNSANITIZED must not straddle either.
void as_engine();
void as_thread();

#else

inline void release(void*) {}
inline void acquire(void*) {}
inline void forget(void*, size_t) {}
inline void begin_identities(int) {}
inline void renew_identities() {}
inline void as_engine() {}
inline void as_thread() {}

#endif

}  // namespace offshoot::emulation
