// What the sanitizers must be told of fibers. Without sanitizers everything here is empty.
//
// TSan takes every CUDA thread for a thread of its own and the engine for one more. It sees no
// order between them but what release() and acquire() state, so it finds the races of a kernel
// although only one thread runs at a time. Synchronisation objects must be 8 bytes apart, as TSan
// keeps one clock for each 8-byte cell.
#pragma once

#include <cstddef>

#if !defined(__GNUC__) || defined(__clang__)
#error "the emulator needs g++: section attributes, and the TSan runtime of g++ 12"
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef __SANITIZE_THREAD__
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
// For the engine's own functions: TSan must neither see their accesses nor count their calls, as
// they may begin as one thread and return as another.
#define OFFSHOOT_UNSANITIZED __attribute__((no_sanitize("thread"), noinline))
#else
#define OFFSHOOT_UNSANITIZED
#endif

namespace offshoot::emulation {

// What TSan calls a fiber; null without TSan.
using TsanFiber = void*;

#ifdef __SANITIZE_THREAD__

inline constexpr bool kThreadSanitizer = true;

OFFSHOOT_UNSANITIZED inline TsanFiber current_tsan_fiber() { return __tsan_get_current_fiber(); }
OFFSHOOT_UNSANITIZED inline TsanFiber create_tsan_fiber() { return __tsan_create_fiber(0); }
// The flag says that switching orders nothing.
OFFSHOOT_UNSANITIZED inline void become(TsanFiber fiber) { __tsan_switch_to_fiber(fiber, 1); }
OFFSHOOT_UNSANITIZED inline void release(void* object) { __tsan_release(object); }
OFFSHOOT_UNSANITIZED inline void acquire(void* object) { __tsan_acquire(object); }

#else

inline constexpr bool kThreadSanitizer = false;

inline TsanFiber current_tsan_fiber() { return nullptr; }
inline TsanFiber create_tsan_fiber() { return nullptr; }
inline void become(TsanFiber) {}
inline void release(void*) {}
inline void acquire(void*) {}

#endif

}  // namespace offshoot::emulation
