#include "engine/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

// About 50 us on current processors: longer than the serial stretches between the loops of a
// training step, shorter than a time slice.
constexpr int kSpins = 2000;

// More parts than this only cost claims.
constexpr int64_t kMaxTaskParts = int64_t{1} << 20;

thread_local bool inside_loop = false;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Spins a bounded time, then sleeps in the kernel, until `value` is no longer `old`.
void wait_while_equal(const std::atomic<int>& value, int old, int spins) {
  for (int i = 0; i < spins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

int available_processors() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int initial_threads() {
  const char* text = std::getenv("OFFSHOOT_THREADS");
  if (text == nullptr) return available_processors();
  const char* end = text + std::strlen(text);
  int count = 0;
  const auto [stop, error] = std::from_chars(text, end, count);
  if (error != std::errc{} || stop != end || count < 1) {
    fail("parallel", "OFFSHOOT_THREADS: got \"{}\", expected a positive integer", text);
  }
  return count;
}

// A loop cut into `parts` ranges whose lengths differ by at most one.
struct Loop {
  detail::LoopBody body;
  int64_t count;
  int parts;

  int64_t begin(int part) const {
    return count / parts * part + std::min(count % parts, int64_t{part});
  }
  void run(int part) const { body.call(body.object, begin(part), begin(part + 1)); }
};

// Threads claim parts of the current loop, so a worker that comes late, or never, costs time but
// cannot hold up the loop: the caller then claims its parts.
class Pool {
 public:
  explicit Pool(int threads) { start(threads); }
  ~Pool() { stop(); }

  int threads() const { return threads_.load(std::memory_order_relaxed); }

  void resize(int threads) {
    const std::lock_guard turn(turn_);
    stop();
    start(threads);
  }

  void run(const Loop& loop) {
    const std::lock_guard turn(turn_);
    loop_ = loop;
    error_ = nullptr;
    unfinished_.store(loop.parts, std::memory_order_relaxed);
    // Part 0 is the caller's own: its data stay in its cache from loop to loop. Sequential
    // consistency orders this store before notify_all() looks for sleepers.
    unclaimed_.store(loop.parts - 1, std::memory_order_seq_cst);
    unclaimed_.notify_all();
    run_part(0);
    while (claim_and_run()) {
    }
    for (int left; (left = unfinished_.load(std::memory_order_acquire)) != 0;) {
      wait_while_equal(unfinished_, left, spins_);
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  static constexpr int kStop = -1;

  void start(int threads) {
    // Spinning threads that outnumber the processors only keep the others from running.
    spins_ = threads <= available_processors() ? kSpins : 0;
    unclaimed_.store(0);
    try {
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      const size_t started = workers_.size() + 1;
      stop();
      unclaimed_.store(0);
      threads_.store(1);
      fail("parallel", "threads: got {}, expected {}: {}", started, threads, error.what());
    }
    threads_.store(threads);
  }

  void stop() {
    unclaimed_.store(kStop);
    unclaimed_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  void work() {
    while (true) {
      wait_while_equal(unclaimed_, 0, spins_);
      if (unclaimed_.load(std::memory_order_acquire) == kStop) return;
      while (claim_and_run()) {
      }
    }
  }

  // False when nothing is left to claim. loop_ may be read once a part is claimed: until that part
  // is finished the loop is the current one.
  bool claim_and_run() {
    int left = unclaimed_.load(std::memory_order_relaxed);
    do {
      if (left <= 0) return false;
    } while (!unclaimed_.compare_exchange_weak(left, left - 1, std::memory_order_acquire,
                                               std::memory_order_relaxed));
    run_part(loop_.parts - left);
    return true;
  }

  void run_part(int part) {
    inside_loop = true;
    try {
      loop_.run(part);
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (!error_ || part < error_part_) {
        error_ = std::current_exception();
        error_part_ = part;
      }
    }
    inside_loop = false;
    if (unfinished_.fetch_sub(1, std::memory_order_seq_cst) == 1) unfinished_.notify_all();
  }

  std::mutex turn_;
  std::atomic<int> threads_{1};
  std::vector<std::thread> workers_;
  int spins_ = 0;
  Loop loop_{};
  std::mutex error_mutex_;
  std::exception_ptr error_;
  int error_part_ = 0;
  alignas(64) std::atomic<int> unclaimed_{0};   // parts nobody has taken yet, or kStop
  alignas(64) std::atomic<int> unfinished_{0};  // parts not yet run to their end
};

Pool& pool() {
  static Pool the_pool(initial_threads());
  return the_pool;
}

void run_loop(const Loop& loop) {
  if (loop.parts > 1 && pool().threads() > 1 && !inside_loop) return pool().run(loop);
  // The same cut on one thread: sums over a range do not depend on where the loop was started.
  for (int part = 0; part < loop.parts; ++part) loop.run(part);
}

}  // namespace

int num_threads() { return pool().threads(); }

void set_num_threads(int count) {
  if (count < 1) fail("parallel", "threads: got {}, expected at least 1", count);
  OFFSHOOT_CHECK(!inside_loop, "set_num_threads({}) inside a loop", count);
  if (count != num_threads()) pool().resize(count);
}

namespace detail {

void run_parallel_for(int64_t count, int64_t grain, LoopBody body) {
  const int64_t parts = count / std::max<int64_t>(grain, 1);
  run_loop({body, count, static_cast<int>(std::clamp<int64_t>(parts, 1, num_threads()))});
}

void run_parallel_tasks(int64_t count, LoopBody body) {
  run_loop({body, count, static_cast<int>(std::min(count, kMaxTaskParts))});
}

}  // namespace detail
}  // namespace offshoot
