// Copies: through pinned memory, in the stream's order.
#include <algorithm>
#include <random>
#include <thread>
#include <utility>

#include "tests/cuda/device_test.h"

namespace offshoot::cuda {
namespace {

using CopyCuda = DeviceTest;
using HostCopyCuda = DeviceTest;

constexpr int64_t kMiB = int64_t{1} << 20;

std::vector<uint8_t> random_bytes(int64_t count, int seed) {
  std::minstd_rand random(static_cast<unsigned>(seed + 1));
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

TEST_F(CopyCuda, TheSourceMayChangeOnReturn) {
  const Committed memory(22 * kMiB);
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{4097}, 4 * kMiB - 1, 4 * kMiB,
                              4 * kMiB + 1, 8 * kMiB, 21 * kMiB + 13}) {
    const std::vector<uint8_t> numbers = random_bytes(bytes, 1);
    std::vector<uint8_t> source = numbers;
    fill_bytes(memory.data(), 0x55, bytes + 1, kDevice);
    upload(memory.data() + 1, source);
    std::ranges::fill(source, uint8_t{0xee});
    upload(memory.data(), std::vector<uint8_t>{0x77});
    const std::vector<uint8_t> back = download(memory.as<uint8_t>(), bytes + 1);
    EXPECT_EQ(back[0], 0x77);
    EXPECT_TRUE(std::equal(numbers.begin(), numbers.end(), back.begin() + 1)) << bytes;
  }
}

TEST_F(CopyCuda, ManyCopiesShareTheStaging) {
  const Committed memory(64 * kMiB);
  std::minstd_rand random(2);
  const auto below = [&](int64_t most) { return static_cast<int64_t>(random()) % most; };
  std::vector<uint8_t> expected(static_cast<size_t>(64 * kMiB), uint8_t{0});
  fill_bytes(memory.data(), 0, 64 * kMiB, kDevice);
  for (int copy = 0; copy < 400; ++copy) {
    // Mostly small ones, some of several pieces.
    const int64_t most = copy % 50 == 0 ? 9 * kMiB : copy % 7 == 0 ? kMiB : 300;
    const int64_t bytes = below(most) + 1, offset = below(64 * kMiB - bytes);
    std::vector<uint8_t> source(static_cast<size_t>(bytes), static_cast<uint8_t>(copy));
    upload(memory.data() + offset, source);
    std::ranges::fill(source, uint8_t{0xee});
    std::fill_n(expected.begin() + offset, bytes, static_cast<uint8_t>(copy));
  }
  EXPECT_TRUE(download(memory.as<uint8_t>(), 64 * kMiB) == expected);
}

TEST_F(CopyCuda, FewSmallCopiesWaitForNothing) {
  const Committed memory(1024);
  synchronize(kDevice);
  const int64_t before = synchronizations();
  for (int copy = 0; copy < 16; ++copy) upload(memory.data(), std::vector<float>(256, 1.0f));
  EXPECT_EQ(synchronizations(), before);
}

TEST_F(CopyCuda, CopiesAndFillsOnTheDevice) {
  const Committed memory(3001);
  const std::vector<uint8_t> numbers = random_bytes(1000, 3);
  fill_bytes(memory.data(), 0xab, 3001, kDevice);
  upload(memory.data() + 1, numbers);
  copy_on_device(memory.data() + 2001, memory.data() + 1, 1000, kDevice);
  copy_on_device(memory.data(), memory.data() + 1, 0, kDevice);
  fill_bytes(memory.data(), 0xcd, 0, kDevice);
  const std::vector<uint8_t> back = download(memory.as<uint8_t>(), 3001);
  EXPECT_EQ(back[0], 0xab);
  EXPECT_EQ(back[1001], 0xab);
  EXPECT_TRUE(std::equal(numbers.begin(), numbers.end(), back.begin() + 1));
  EXPECT_TRUE(std::equal(numbers.begin(), numbers.end(), back.begin() + 2001));
}

TEST_F(CopyCuda, ThreadsMayCopyAtOnce) {
  constexpr int kThreads = 4;
  const Committed memory(kThreads * 6 * kMiB);
  const auto work = [&](int thread) {
    std::byte* its = memory.data() + thread * 6 * kMiB;
    for (int pass = 0; pass < 3; ++pass) {
      const std::vector<uint8_t> numbers = random_bytes(5 * kMiB + 1, 10 * thread + pass);
      upload(its, numbers);
      HostCopy head(its, 16, kDevice);
      EXPECT_TRUE(download(reinterpret_cast<uint8_t*>(its), 5 * kMiB + 1) == numbers);
      EXPECT_TRUE(std::equal(numbers.begin(), numbers.begin() + 16,
                             static_cast<const uint8_t*>(head.wait())));
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) threads.emplace_back(work, thread);
  for (std::thread& thread : threads) thread.join();
}

TEST_F(HostCopyCuda, HoldsWhatWasThereInTheStream) {
  const Committed memory(16);
  upload(memory.data(), std::vector<int64_t>{1, 2});
  HostCopy first(memory.data(), 16, kDevice);
  upload(memory.data(), std::vector<int64_t>{3, 4});
  HostCopy second(memory.data(), 16, kDevice);
  upload(memory.data(), std::vector<int64_t>{5, 6});
  const auto* numbers = static_cast<const int64_t*>(first.wait());
  EXPECT_EQ(numbers[0], 1);
  EXPECT_EQ(numbers[1], 2);
  EXPECT_EQ(static_cast<const int64_t*>(second.wait())[1], 4);
  EXPECT_EQ(numbers[1], 2) << "the second has a block of its own";

  HostCopy moved = std::move(first);
  EXPECT_EQ(static_cast<const int64_t*>(moved.wait())[0], 1);
  moved = std::move(second);
  EXPECT_EQ(static_cast<const int64_t*>(moved.wait())[0], 3);
}

TEST_F(HostCopyCuda, WaitsOnlyWhereItMust) {
  const Committed memory(16);
  upload(memory.data(), std::vector<int64_t>{1, 2});
  HostCopy copy(memory.data(), 16, kDevice);
  synchronize(kDevice);
  const int64_t before = synchronizations();
  copy.wait();
  copy.wait();
  EXPECT_EQ(synchronizations(), before);
}

TEST_F(HostCopyCuda, SteadyStateAllocatesNothing) {
  const Committed memory(4096);
  fill_bytes(memory.data(), 0, 4096, kDevice);
  const auto pass = [&] {
    for (const int64_t bytes :
         {int64_t{0}, int64_t{1}, int64_t{255}, int64_t{256}, int64_t{257}, int64_t{4096}}) {
      HostCopy dropped(memory.data(), bytes, kDevice);
      HostCopy used(memory.data(), bytes, kDevice);
      used.wait();
    }
  };
  pass();
  const MemoryStats before = memory_stats();
  for (int i = 0; i < 50; ++i) pass();
  EXPECT_EQ(memory_stats().system_requests, before.system_requests);
  EXPECT_EQ(memory_stats().pinned_bytes, before.pinned_bytes);
}

}  // namespace
}  // namespace offshoot::cuda
