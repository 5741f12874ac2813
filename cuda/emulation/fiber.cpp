#include "cuda/emulation/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#include "cuda/emulation/engine.h"

#ifndef __x86_64__
#error "swap_stacks() and first_stack_pointer() know x86-64 only"
#endif

namespace offshoot::emulation {
namespace {

constexpr size_t kPageBytes = 4096;

// Saves what a call preserves on the old stack, and its pointer in *from.
__attribute__((naked, noinline)) void swap_stacks(void** /*from*/, void* /*to*/) {
  asm(R"(
      pushq %rbp
      pushq %rbx
      pushq %r12
      pushq %r13
      pushq %r14
      pushq %r15
      movq %rsp, (%rdi)
      movq %rsi, %rsp
      popq %r15
      popq %r14
      popq %r13
      popq %r12
      popq %rbx
      popq %rbp
      ret)");
}

// As swap_stacks() would have left a stack that is about to enter `run`, which sees the alignment
// of a called function and no caller.
void* first_stack_pointer(char* end, void (*run)()) {
  void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(end) & ~uintptr_t{15});
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(run);
  for (int saved = 0; saved < 6; saved++) *--top = nullptr;
  return top;
}

}  // namespace

OFFSHOOT_UNSANITIZED Fiber* create_fiber(void (*run)()) {
  void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail("no memory for the stacks of fibers");
  mprotect(memory, kPageBytes, PROT_NONE);
  static size_t count = 0;
  // Stacks a multiple of the page apart would all meet in the same few lines of the first cache.
  const size_t colour = count++ * 5 % 64 * 64;
  auto* fiber = new Fiber;
  fiber->stack = static_cast<char*>(memory) + kPageBytes;
  fiber->stack_bytes = kStackBytes - kPageBytes;
  fiber->stack_pointer =
      first_stack_pointer(static_cast<char*>(memory) + kStackBytes - colour, run);
  return fiber;
}

OFFSHOOT_UNSANITIZED Fiber* adopt_stack() {
  thread_local Fiber fiber;
#ifdef __SANITIZE_ADDRESS__
  if (fiber.stack == nullptr) {
    pthread_attr_t attributes;
    void* stack = nullptr;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &stack, &fiber.stack_bytes);
    pthread_attr_destroy(&attributes);
    fiber.stack = static_cast<char*>(stack);
  }
#endif
  return &fiber;
}

OFFSHOOT_UNSANITIZED void switch_fiber(Fiber& from, Fiber& to) {
#ifdef __SANITIZE_ADDRESS__
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, to.stack, to.stack_bytes);
#endif
  swap_stacks(&from.stack_pointer, to.stack_pointer);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

OFFSHOOT_UNSANITIZED void enter_fiber() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

}  // namespace offshoot::emulation
