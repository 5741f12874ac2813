#include "cuda/emulation/engine.h"

#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cuda/emulation/executable.h"
#include "cuda/emulation/grid.cuh"
#include "cuda/emulation/language.cuh"
#include "cuda/emulation/scheduler.h"
#include "cuda/error.h"

namespace offshoot::emulation {
namespace {

constexpr int kMostWaitersShown = 8;
constexpr const char* kOrderVariable = "OFFSHOOT_EMULATION_ORDER";
constexpr const char* kSeedVariable = "OFFSHOOT_EMULATION_SEED";

uint64_t random_state;  // of xorshift64, never 0

Order order_of_environment() {
  const char* text = std::getenv(kOrderVariable);
  if (text == nullptr || std::strcmp(text, "forward") == 0) return Order::forward;
  if (std::strcmp(text, "reverse") == 0) return Order::reverse;
  if (std::strcmp(text, "random") == 0) return Order::random;
  throw Error(std::string("[cuda emulation] ") + kOrderVariable + ": got \"" + text +
              "\", expected forward, reverse or random");
}

uint64_t seed_of_environment() {
  const char* text = std::getenv(kSeedVariable);
  if (text == nullptr) return 0;
  uint64_t seed = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, seed);
  if (error != std::errc() || stop != end) {
    throw Error(std::string("[cuda emulation] ") + kSeedVariable + ": got \"" + text +
                "\", expected a number from 0 to 18446744073709551615");
  }
  return seed;
}

struct Text {
  char characters[48];
};
template <class Triple>
Text to_text(const Triple& t) {
  Text text;
  std::snprintf(text.characters, sizeof(text.characters), "(%u, %u, %u)", t.x, t.y, t.z);
  return text;
}

uint3 thread_index(int thread) {
  const auto number = static_cast<unsigned>(thread);
  const dim3 shape = position.block_shape;
  return {number % shape.x, number / shape.x % shape.y, number / shape.x / shape.y};
}

void print_waiting_threads() {
  int num_waiting = 0;
  for (int i = 0; i < scheduler.num_threads; i++) {
    const Thread& thread = scheduler.threads[i];
    if (thread.waits_for == nullptr) continue;
    if (++num_waiting > kMostWaitersShown) continue;
    std::fprintf(stderr, "  thread %s waits in %s at %s:%u\n", to_text(thread_index(i)).characters,
                 thread.waits_for, thread.place.file_name(), thread.place.line());
  }
  if (num_waiting > kMostWaitersShown) {
    std::fprintf(stderr, "  and %d more\n", num_waiting - kMostWaitersShown);
  }
}

}  // namespace

Order order() { return scheduler.order; }

OFFSHOOT_UNSANITIZED uint64_t random_number() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

void set_order(Order order, uint64_t seed) {
  scheduler.order = order;
  random_state = 0x9e3779b97f4a7c15u * (2 * seed + 1);  // odd times odd: never 0
}

void set_order_once() {
  if (random_state == 0) set_order(order_of_environment(), seed_of_environment());
}

void fail(const char* format, ...) {
  std::fflush(stdout);
  std::fprintf(stderr, "[cuda emulation] ");
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "\n");
  if (const void* kernel = running_kernel()) {
    std::fprintf(stderr, "  in %s, block %s of %s", function_name(kernel).c_str(),
                 to_text(position.block).characters, to_text(position.grid_shape).characters);
    if (scheduler.current >= 0) {
      std::fprintf(stderr, ", thread %s of %s", to_text(position.thread).characters,
                   to_text(position.block_shape).characters);
    }
    std::fprintf(stderr, "\n");
    print_waiting_threads();
  }
  std::abort();
}

}  // namespace offshoot::emulation
