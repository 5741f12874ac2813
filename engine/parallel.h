// Parallel loops on one pool of threads, in every build, sanitizers included.
//
// The pool has num_threads() - 1 workers beside the caller; they spin for a bounded time between
// loops and then sleep. Loops do not nest: a loop started inside a loop runs on its caller alone.
// Only one thread of the program starts loops at a time; others wait their turn.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace offshoot {

// Threads used by parallel loops, the caller included. At first: OFFSHOOT_THREADS, else the number
// of processors this process may run on.
int num_threads();

// Throws Error when count < 1, or when the system has no such threads: loops then run on the caller
// alone. Not from inside a loop.
void set_num_threads(int count);

namespace detail {

// A reference to a callable; no allocation, the callable outlives the loop.
struct LoopBody {
  void* object;
  void (*call)(void* object, int64_t first, int64_t last);
};
void run_parallel_for(int64_t count, int64_t grain, LoopBody body);
void run_parallel_tasks(int64_t count, LoopBody body);

template <class F>
LoopBody loop_body(F& f) {
  using Function = std::remove_reference_t<F>;
  return {const_cast<void*>(static_cast<const void*>(std::addressof(f))),
          [](void* object, int64_t first, int64_t last) {
            (*static_cast<Function*>(object))(first, last);
          }};
}

}  // namespace detail

// Calls f(first, last) on disjoint ranges that cover [0, count), at least `grain` long where count
// allows. The cut depends on count, grain and num_threads() only, so sums over a range repeat bit
// for bit for a given thread count. An exception thrown by f reaches the caller (the first range's
// of those that threw).
template <class F>
void parallel_for(int64_t count, int64_t grain, F&& f) {
  if (count <= 0) return;
  if (count <= grain) return f(int64_t{0}, count);
  detail::run_parallel_for(count, grain, detail::loop_body(f));
}

// Calls f(i) once for every i in [0, count). Threads take the next i as they become free, so work
// of uneven size balances; f must give the same result whichever thread runs it.
template <class F>
void parallel_tasks(int64_t count, F&& f) {
  auto range = [&f](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) f(i);
  };
  if (count <= 0) return;
  if (count == 1) return range(0, 1);
  detail::run_parallel_tasks(count, detail::loop_body(range));
}

}  // namespace offshoot
