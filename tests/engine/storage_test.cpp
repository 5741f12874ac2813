#include "engine/storage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "cuda/context.h"
#include "engine/error.h"
#include "engine/random.h"
#include "engine/tensor.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

using Block = std::shared_ptr<Storage>;

bool all_bytes_are(const Storage& storage, int value) {
  return std::all_of(storage.data(), storage.data() + storage.bytes(),
                     [&](std::byte b) { return b == static_cast<std::byte>(value); });
}

// A loop's body: blocks taken and given back in a random order of mixed sizes.
class Pass {
 public:
  explicit Pass(uint64_t seed) {
    Random random(seed, 0);
    std::vector<size_t> living;
    for (int action = 0; action < 200; ++action) {
      if (living.empty() || random.uniform() < 0.55) {
        const auto bytes = static_cast<int64_t>(std::exp2(4 + 14 * random.uniform()));
        living.push_back(count_);
        actions_.push_back({count_++, bytes});
      } else {
        const auto which = random.below(static_cast<int64_t>(living.size()));
        const auto chosen = living.begin() + which;
        actions_.push_back({*chosen, kGiveBack});
        living.erase(chosen);
      }
    }
  }

  // Sizes are multiplied by up to `stretch`.
  void run(double stretch = 1.0, Random random = Random(0, 0)) const {
    std::vector<Block> blocks(count_);
    for (const Action& action : actions_) {
      if (action.bytes == kGiveBack) {
        blocks[action.block].reset();
      } else {
        const double factor = 1 + (stretch - 1) * random.uniform();
        const double bytes = static_cast<double>(action.bytes) * factor;
        blocks[action.block] = pooled_storage(static_cast<int64_t>(bytes));
      }
    }
  }

 private:
  static constexpr int64_t kGiveBack = -1;
  struct Action {
    size_t block;
    int64_t bytes;
  };
  std::vector<Action> actions_;
  size_t count_ = 0;
};

int64_t requests() { return storage_stats().system_requests; }

TEST(Storage, BlocksAreAlignedAndOfTheSizeAskedFor) {
  for (const int64_t bytes : {0, 1, 63, 64, 255, 256, 257, 320, 321, 4097, 1000003}) {
    const Block block = pooled_storage(bytes);
    EXPECT_EQ(block->bytes(), bytes);
    ASSERT_NE(block->data(), nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block->data()) % 64, 0u);
    std::memset(block->data(), 7, static_cast<size_t>(bytes));
  }
}

TEST(Storage, LivingBlocksDoNotOverlap) {
  Random random(3, 0);
  std::vector<Block> blocks;
  for (int action = 0; action < 3000; ++action) {
    if (blocks.size() < 50 || random.uniform() < 0.5) {
      blocks.push_back(pooled_storage(1 + random.below(5000)));
      std::memset(blocks.back()->data(), static_cast<int>(blocks.size() % 251),
                  static_cast<size_t>(blocks.back()->bytes()));
    } else {
      EXPECT_TRUE(all_bytes_are(*blocks.back(), static_cast<int>(blocks.size() % 251)));
      blocks.pop_back();
    }
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_TRUE(all_bytes_are(*blocks[i], static_cast<int>((i + 1) % 251)));
  }
}

TEST(Storage, ABlockGivenBackServesTheNextOfItsClass) {
  Block block = pooled_storage(10000);
  const std::byte* data = block->data();
  block.reset();
  EXPECT_EQ(pooled_storage(9990)->data(), data);  // still the class of 10240 bytes
  EXPECT_EQ(pooled_storage(10240)->data(), data);
}

TEST(Storage, AClassWastesAFifthAtMost) {
  for (int64_t bytes = 300; bytes < 3000000; bytes = bytes * 21 / 20 + 1) {
    const int64_t before = storage_stats().pooled_bytes_in_use;
    const Block block = pooled_storage(bytes);
    const int64_t used = storage_stats().pooled_bytes_in_use - before;
    EXPECT_GE(used, bytes);
    EXPECT_LE(used, bytes + bytes / 4 + 1) << bytes;
  }
}

TEST(Storage, CountsWhatIsInUse) {
  const StorageStats before = storage_stats();
  {
    const Block a = pooled_storage(1 << 20), b = pooled_storage(1 << 16);
    EXPECT_EQ(storage_stats().pooled_bytes_in_use - before.pooled_bytes_in_use,
              (1 << 20) + (1 << 16));
  }
  EXPECT_EQ(storage_stats().pooled_bytes_in_use, before.pooled_bytes_in_use);
  EXPECT_GE(storage_stats().pooled_bytes_peak, before.pooled_bytes_in_use + (1 << 20) + (1 << 16));
  EXPECT_GE(storage_stats().pooled_bytes, storage_stats().pooled_bytes_peak);
}

TEST(Storage, ALoopOfConstantShapesAsksTheSystemInItsFirstPassOnly) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    release_pooled_storage();
    const Pass pass(seed);
    pass.run();
    const int64_t after_first = requests();
    for (int repetition = 0; repetition < 5; ++repetition) pass.run();
    EXPECT_EQ(requests(), after_first) << seed;
  }
}

TEST(Storage, ALoopOfVaryingShapesSoonAsksTheSystemNoMore) {
  release_pooled_storage();
  const Pass pass(1);
  for (uint64_t step = 0; step < 10; ++step) pass.run(2.0, Random(step, 1));
  const int64_t after_ten = requests();
  for (uint64_t step = 10; step < 300; ++step) pass.run(2.0, Random(step, 1));
  EXPECT_EQ(requests(), after_ten);
}

TEST(Storage, MemoryOfOneSizeServesAnother) {
  // Blocks of ever new sizes, never more than one at once: they must not pile up by size class.
  constexpr int64_t kLargest = 100 << 20;
  release_pooled_storage();
  for (int64_t bytes = kLargest; bytes > kLargest / 10; bytes -= bytes / 5) {
    pooled_storage(bytes);
  }
  EXPECT_LE(storage_stats().pooled_bytes, 4 * kLargest);
}

TEST(Storage, ReleaseReturnsWhatIsFree) {
  pooled_storage(200 << 20);
  const int64_t before = storage_stats().pooled_bytes;
  release_pooled_storage();
  EXPECT_LE(storage_stats().pooled_bytes, before - (200 << 20));
  const Block block = pooled_storage(1 << 20);  // and it can be had again
  std::memset(block->data(), 1, 1 << 20);
}

TEST(Storage, PoisonShowsWhatIsReadBeforeItIsWritten) {
  Block block = pooled_storage(1000);
  std::memset(block->data(), 0, 1000);
  block.reset();
  testing::poison_storage(true);
  EXPECT_TRUE(all_bytes_are(*pooled_storage(1000), 0xff));
#ifndef OFFSHOOT_POISON
  testing::poison_storage(false);
#endif
}

Tensor numbers(float first, Device device) {
  return Tensor::from<float>({3}, {first, first + 1, first + 2}).to(device);
}

void expect_numbers(const Tensor& tensor, float first) {
  const Tensor here = tensor.to(Device{});
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(here.data<float>()[i], first + static_cast<float>(i)) << "from " << first;
  }
}

void expect_release_keeps_what_is_in_use(Device device) {
  release_pooled_storage(device);
  const Tensor small = numbers(1, device);
  // Longer than what has been asked for, so that on CUDA it lies in memory of several requests.
  const int64_t bytes = storage_stats(device).pooled_bytes + (int64_t{1} << 20);
  const Tensor large({bytes / 4}, DType::f32, device);
  const Tensor first = large.rows(0, 3), last = large.rows(bytes / 4 - 3, 3);
  copy_elements(numbers(10, device), first);
  copy_elements(numbers(20, device), last);
  Tensor hole = numbers(0, device);
  const Tensor behind = numbers(30, device);
  hole = {};
  const auto expect_kept = [&] {
    expect_numbers(small, 1);
    expect_numbers(first, 10);
    expect_numbers(last, 20);
    expect_numbers(behind, 30);
  };
  pooled_storage(2 * bytes, device);  // lies free at the end
  const StorageStats before = storage_stats(device);
  release_pooled_storage(device);
  EXPECT_LT(storage_stats(device).pooled_bytes, before.pooled_bytes);
  EXPECT_EQ(storage_stats(device).pooled_bytes_in_use, before.pooled_bytes_in_use);
  expect_kept();
  const Tensor anew = numbers(40, device), beyond({bytes / 2}, DType::f32, device);
  copy_elements(numbers(50, device), beyond.rows(bytes / 2 - 3, 3));
  expect_numbers(anew, 40);
  expect_numbers(beyond.rows(bytes / 2 - 3, 3), 50);
  expect_kept();
}

TEST(Storage, ReleaseKeepsWhatIsInUse) { expect_release_keeps_what_is_in_use({}); }

TEST(StorageReleaseCuda, KeepsWhatIsInUse) {
  OFFSHOOT_NEEDS_CUDA();
  expect_release_keeps_what_is_in_use(testing::kCuda);
  release_pooled_storage(testing::kCuda);
}

#ifdef __SANITIZE_ADDRESS__
void touch(std::byte* at) { *static_cast<volatile std::byte*>(at) = std::byte{1}; }

void expect_watched(Device device) {
  const Block block = pooled_storage(100, device);
  touch(block->data() + 99);
  EXPECT_DEATH(touch(block->data() + 100), "use-after-poison");
  EXPECT_DEATH(touch(block->data() + 255), "use-after-poison");
  std::byte* const given_back = pooled_storage(1 << 20, device)->data();
  EXPECT_DEATH(touch(given_back), "use-after-poison");
  EXPECT_DEATH(touch(given_back + (1 << 20)), "use-after-poison");
  pooled_storage(80 << 20, device);
  release_pooled_storage(device);
  const Block anew = pooled_storage(80 << 20, device);  // forbidden again but for what it is
  touch(anew->data() + (80 << 20) - 1);
  EXPECT_DEATH(touch(anew->data() + (80 << 20)), "use-after-poison");
}

TEST(StorageDeathTest, WhatWasNotAskedForIsNotTouched) { expect_watched({}); }

TEST(StorageDeathTestCuda, WhatWasNotAskedForIsNotTouched) {
  if (!cuda::kEmulated) GTEST_SKIP() << "kernels are not watched on a device";
  expect_watched({Device::Kind::cuda, 0});
}
#endif

TEST(Storage, RefusesSizesThatCannotBe) {
  EXPECT_THROW(pooled_storage(-1), Error);
  const StorageStats before = storage_stats();
  EXPECT_THROW(pooled_storage(int64_t{1} << 50), Error);
  EXPECT_THROW(pooled_storage(INT64_MAX), Error);
  EXPECT_EQ(storage_stats().pooled_bytes_in_use, before.pooled_bytes_in_use);
  EXPECT_EQ(pooled_storage(100)->bytes(), 100);
}

TEST(Storage, ThreadsMayShareThePool) {
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([seed] { Pass(seed).run(); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace offshoot
