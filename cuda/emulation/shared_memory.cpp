#include "cuda/emulation/shared_memory.h"

#include <cstdlib>
#include <vector>

#include "cuda/emulation/engine.h"
#include "cuda/emulation/executable.h"
#include "cuda/emulation/language.cuh"

namespace offshoot::emulation {

bool static_shared_touched = true;

namespace {

constexpr size_t kAlignment = 1024;  // that OFFSHOOT_DYNAMIC_SHARED promises

char* dynamic_begin;
size_t dynamic_bytes;

OFFSHOOT_UNSANITIZED void fill(char* begin, size_t bytes) {
  forget(begin, bytes);
  // Unseen by sanitizers: ASan's red zones lie between static variables.
  asm volatile("rep stosb" : "+D"(begin), "+c"(bytes) : "a"(0xff) : "memory");
}

}  // namespace

void prepare_dynamic_shared(size_t bytes) {
  if (bytes == dynamic_bytes) return;
  std::free(dynamic_begin);
  dynamic_begin = nullptr;
  dynamic_bytes = bytes;
  if (bytes == 0) return;
  // Of just this size, so that ASan sees what runs over.
  void* memory = nullptr;
  if (posix_memalign(&memory, kAlignment, bytes) != 0) fail("no memory for dynamic shared memory");
  dynamic_begin = static_cast<char*>(memory);
}

void fill_shared() {
  if (dynamic_bytes > 0) fill(dynamic_begin, dynamic_bytes);
  if (!__atomic_exchange_n(&static_shared_touched, false, __ATOMIC_RELAXED)) return;
  static const std::vector<MemoryRange> variables = loaded_sections(".noinit");
  for (const MemoryRange& range : variables) {
    fill(range.begin, static_cast<size_t>(range.end - range.begin));
  }
}

OFFSHOOT_UNSANITIZED char* dynamic_shared() { return dynamic_begin; }

}  // namespace offshoot::emulation
