#include "cuda/emulation/atomics.cuh"

#include "cuda/emulation/scheduler.h"

namespace offshoot::emulation {
namespace {

constexpr int kMostInARow = 100'000;

int num_in_a_row;
int last_thread;
Clock fences;  // of all blocks: what polls a counter in global memory fences before it reads

}  // namespace

OFFSHOOT_UNSANITIZED void before_atomic(Place place) {
  if (scheduler.order == Order::random) {
    if (random_number() % 8 == 0) yield("an atomic operation", place);
    return;
  }
  if (scheduler.current != last_thread) {
    last_thread = scheduler.current;
    num_in_a_row = 0;
  }
  if (++num_in_a_row > kMostInARow) {
    num_in_a_row = 0;
    yield("an atomic operation", place);
  }
}

OFFSHOOT_UNSANITIZED void fence() {
  release(&fences);
  acquire(&fences);
}

}  // namespace offshoot::emulation
