#include "engine/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/child.h"
#include "engine/error.h"

namespace offshoot {
namespace {

class ParallelTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_num_threads(GetParam()); }
  void TearDown() override { set_num_threads(before_); }

 private:
  int before_ = num_threads();
};

TEST_P(ParallelTest, RangesCoverEveryIndexOnce) {
  for (const int64_t count : {0, 1, 2, 3, 7, 64, 1009}) {
    for (const int64_t grain : {1, 2, 5, 64, 2000}) {
      std::vector<int> visits(static_cast<size_t>(count), 0);
      parallel_for(count, grain, [&](int64_t first, int64_t last) {
        EXPECT_LT(first, last);
        EXPECT_GE(last - first, std::min(count, grain));
        for (int64_t i = first; i < last; ++i) ++visits[static_cast<size_t>(i)];
      });
      EXPECT_EQ(visits, std::vector<int>(static_cast<size_t>(count), 1)) << count << " " << grain;
    }
  }
}

TEST_P(ParallelTest, TasksVisitEveryIndexOnce) {
  for (const int64_t count : {0, 1, 2, 13, 1009, 1 << 21}) {
    std::vector<int> visits(static_cast<size_t>(count), 0);
    parallel_tasks(count, [&](int64_t i) { ++visits[static_cast<size_t>(i)]; });
    EXPECT_EQ(std::accumulate(visits.begin(), visits.end(), int64_t{0}), count);
    EXPECT_TRUE(std::all_of(visits.begin(), visits.end(), [](int n) { return n == 1; }));
  }
}

std::vector<std::pair<int64_t, int64_t>> cut_of(int64_t count, int64_t grain) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  std::mutex mutex;
  parallel_for(count, grain, [&](int64_t first, int64_t last) {
    const std::lock_guard lock(mutex);
    ranges.emplace_back(first, last);
  });
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

TEST_P(ParallelTest, CutIsTheSameEverywhere) {
  const auto expected = cut_of(101, 3);
  EXPECT_EQ(expected.size(), static_cast<size_t>(GetParam()));
  EXPECT_EQ(cut_of(101, 3), expected);
  std::vector<int> same(20, 0);
  parallel_tasks(20, [&](int64_t i) { same[static_cast<size_t>(i)] = cut_of(101, 3) == expected; });
  EXPECT_EQ(same, std::vector<int>(20, 1)) << "nested loops are cut alike";
}

TEST_P(ParallelTest, NestedLoopStaysOnItsCaller) {
  std::atomic<int> strangers{0};
  parallel_tasks(50, [&](int64_t) {
    const auto caller = std::this_thread::get_id();
    parallel_for(100, 1,
                 [&](int64_t, int64_t) { strangers += std::this_thread::get_id() != caller; });
    parallel_tasks(10, [&](int64_t) { strangers += std::this_thread::get_id() != caller; });
  });
  EXPECT_EQ(strangers, 0);
}

TEST_P(ParallelTest, FirstRangesExceptionReachesTheCaller) {
  for (int repeat = 0; repeat < 50; ++repeat) {
    std::string text;
    try {
      parallel_tasks(40, [](int64_t i) {
        if (i >= 7) throw std::runtime_error(std::to_string(i));
      });
    } catch (const std::runtime_error& error) {
      text = error.what();
    }
    EXPECT_EQ(text, "7");
  }
  int64_t sum = 0;
  parallel_for(1, 1, [&](int64_t first, int64_t last) { sum += last - first; });
  EXPECT_EQ(sum, 1) << "the pool works after an exception";
}

TEST_P(ParallelTest, CallersTakeTurns) {
  std::vector<int64_t> sums(4, 0);
  std::vector<std::thread> callers;
  for (int64_t& sum : sums) {
    callers.emplace_back([&sum] {
      for (int repeat = 0; repeat < 200; ++repeat) {
        std::atomic<int64_t> total{0};
        parallel_for(100, 1, [&](int64_t first, int64_t last) {
          for (int64_t i = first; i < last; ++i) total += i;
        });
        sum += total;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sums, std::vector<int64_t>(4, 200 * 4950));
}

// Plain writes before, in and after loops: what ThreadSanitizer watches.
TEST_P(ParallelTest, LoopsOrderTheirMemory) {
  std::vector<int64_t> values(257, 1);
  for (int repeat = 0; repeat < 300; ++repeat) {
    parallel_for(257, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) values[static_cast<size_t>(i)] += 1;
    });
    for (int64_t& value : values) value += 1;
    // Long enough, now and then, for the workers to fall asleep.
    if (repeat % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(values, std::vector<int64_t>(257, 601));
}

INSTANTIATE_TEST_SUITE_P(Threads, ParallelTest, testing::Values(1, 2, 3, 8));

TEST(Parallel, RefusesBadThreadCounts) {
  EXPECT_THROW(set_num_threads(0), Error);
  set_num_threads(2);
  EXPECT_THROW(parallel_tasks(2, [](int64_t) { set_num_threads(3); }), Error);
}

TEST(Parallel, ThreadsThatCannotBeHadAreAnError) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers do not live with so little address space";
#endif
  set_num_threads(1);  // a forked process has no others
  const ChildEnd end = run_in_child({std::chrono::seconds(10), int64_t{100} << 20}, [] {
    std::string text;
    try {
      set_num_threads(1000);
    } catch (const Error& error) {
      text = error.what();
    }
    std::atomic<int64_t> sum{0};
    parallel_for(100, 1, [&](int64_t first, int64_t last) { sum += last - first; });
    return fmt::format("{} threads, {} of 100; {}", num_threads(), sum.load(), text);
  });
  EXPECT_EQ(end.kind, ChildEnd::Kind::returned);
  EXPECT_EQ(end.text.substr(0, 42), "1 threads, 100 of 100; [parallel] threads:") << end.text;
}

}  // namespace
}  // namespace offshoot
