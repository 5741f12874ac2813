// Devices, streams, events and memory that grows.
#include <functional>
#include <limits>
#include <string>

#include "cuda/error.h"
#include "cuda/pinned_memory.h"
#include "tests/cuda/device_test.h"
#include "tests/cuda/row_kernels.h"

namespace offshoot::cuda {
namespace {

using ContextCuda = DeviceTest;
using MemoryCuda = DeviceTest;

TEST(Context, AMachineWithoutDeviceSaysWhy) {
  EXPECT_EQ(device_count() == 0, !why_no_device().empty());
  EXPECT_THROW(use(device_count()), Error);
}

TEST_F(ContextCuda, EachDeviceHasOneStream) {
  for (int device = 0; device < device_count(); ++device) {
    EXPECT_NE(use(device), nullptr);
    EXPECT_EQ(use(device), use(device));
    const DeviceProperties& its = properties(device);
    EXPECT_EQ(&its, &properties(device));
    EXPECT_FALSE(its.name.empty());
    EXPECT_GE(its.major, 8);
    EXPECT_GT(its.multiprocessors, 0);
    EXPECT_GT(its.memory_bytes, 0);
  }
}

TEST_F(ContextCuda, RefusesDevicesThatAreNotThere) {
  for (const int device : {-1, device_count(), std::numeric_limits<int>::max()}) {
    EXPECT_THROW(properties(device), Error);
    EXPECT_THROW(use(device), Error);
    EXPECT_THROW(AddressSpace(1, device), Error);
  }
  try {
    use(device_count());
  } catch (const Error& error) {
    const std::string count = std::to_string(device_count());
    EXPECT_NE(std::string(error.what()).find("got " + count + ", expected 0.."), std::string::npos)
        << error.what();
  }
}

TEST_F(ContextCuda, CountsEveryWaitOfTheHost) {
  const Committed memory(4);
  const int64_t before = synchronizations();
  upload(memory.data(), std::vector<float>{1.0f});
  fill_bytes(memory.data(), 0, 4, kDevice);
  EXPECT_EQ(synchronizations(), before);
  synchronize(kDevice);
  EXPECT_EQ(synchronizations(), before + 1);
  EXPECT_EQ(download(memory.as<float>(), 1)[0], 0.0f);
  EXPECT_EQ(synchronizations(), before + 2);
}

TEST_F(ContextCuda, EventsHappenInTheStream) {
  Event event(kDevice);
  EXPECT_TRUE(event.done());
  const Committed memory(1);
  fill_bytes(memory.data(), 7, 1, kDevice);
  event.record();
  const int64_t before = synchronizations();
  event.wait();
  EXPECT_LE(synchronizations(), before + 1);
  EXPECT_TRUE(event.done());
  const int64_t after = synchronizations();
  event.wait();
  EXPECT_EQ(synchronizations(), after) << "nothing was left to wait for";

  Event other(kDevice);
  other = std::move(event);
  other.record();
  other.wait();
  EXPECT_TRUE(other.done());
}

TEST_F(ContextCuda, ErrorsNameTheCallOrTheKernel) {
  const auto message = [](const std::function<void()>& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string launch =
      message([] { number_rows_by_giant_blocks(nullptr, nullptr, use(kDevice)); });
  EXPECT_TRUE(launch.starts_with("[cuda] launch of ")) << launch;
  EXPECT_NE(launch.find("number_rows_kernel"), std::string::npos) << launch;

  const std::string call = message([] { PinnedMemory(int64_t{1} << 60); });
  EXPECT_TRUE(call.starts_with("[cuda] cudaHostAlloc(")) << call;
  EXPECT_NE(call.find("out of memory (cuda/pinned_memory.cpp:"), std::string::npos) << call;
  synchronize(kDevice);  // which is none the worse
}

TEST_F(MemoryCuda, CommitsWholeGranulesAndKeepsTheAddress) {
  const MemoryStats before = memory_stats();
  AddressSpace space(1, kDevice);
  const int64_t granule = space.granule_bytes();
  EXPECT_EQ(space.reserved_bytes(), granule);
  AddressSpace large(9 * granule + 1, kDevice);
  EXPECT_EQ(large.reserved_bytes(), 10 * granule);
  EXPECT_EQ(large.committed_bytes(), 0);
  EXPECT_EQ(memory_stats().system_requests, before.system_requests);

  std::byte* const data = large.data();
  EXPECT_EQ(large.commit(0), "");
  EXPECT_EQ(large.committed_bytes(), 0);
  EXPECT_EQ(large.commit(1), "");
  EXPECT_EQ(large.committed_bytes(), granule);
  EXPECT_EQ(large.commit(granule), "");
  EXPECT_EQ(large.commit(2 * granule + 1), "");
  EXPECT_EQ(large.committed_bytes(), 3 * granule);
  EXPECT_EQ(large.data(), data);
  EXPECT_EQ(memory_stats().system_requests, before.system_requests + 2);
  EXPECT_EQ(memory_stats().committed_bytes, before.committed_bytes + 3 * granule);
}

TEST_F(MemoryCuda, GrowthKeepsWhatIsThere) {
  AddressSpace space(int64_t{1} << 40, kDevice);
  const int64_t granule = space.granule_bytes();
  ASSERT_EQ(space.commit(granule), "");
  const std::vector<float> numbers = {1.0f, 2.0f, 3.0f};
  upload(space.data(), numbers);
  ASSERT_EQ(space.commit(2 * granule), "");
  // Across the seam of two mappings.
  auto* seam = reinterpret_cast<float*>(space.data() + granule - 8);
  const std::vector<float> across = {4.0f, 5.0f, 6.0f, 7.0f};
  upload(seam, across);
  copy_on_device(seam + 8, seam, 16, kDevice);
  EXPECT_EQ(download(reinterpret_cast<float*>(space.data()), 3), numbers);
  EXPECT_EQ(download(seam, 4), across);
  EXPECT_EQ(download(seam + 8, 4), across);
}

TEST_F(MemoryCuda, GivesWholeCommitsBack) {
  AddressSpace space(int64_t{1} << 30, kDevice);
  const int64_t granule = space.granule_bytes();
  const MemoryStats before = memory_stats();
  ASSERT_EQ(space.commit(granule), "");
  ASSERT_EQ(space.commit(2 * granule), "");
  ASSERT_EQ(space.commit(6 * granule), "");
  upload(space.data(), std::vector<float>{8.0f});

  const int64_t waits = synchronizations();
  space.release_beyond(6 * granule);
  space.release_beyond(3 * granule);  // in the midst of the last commit
  EXPECT_EQ(space.committed_bytes(), 6 * granule);
  EXPECT_EQ(synchronizations(), waits) << "nothing to give back, nothing to wait for";
  space.release_beyond(2 * granule);
  EXPECT_EQ(space.committed_bytes(), 2 * granule);
  EXPECT_EQ(synchronizations(), waits + 1);
  EXPECT_EQ(memory_stats().committed_bytes, before.committed_bytes + 2 * granule);
  EXPECT_EQ(download(reinterpret_cast<float*>(space.data()), 1)[0], 8.0f);

  space.release_beyond(0);
  EXPECT_EQ(space.committed_bytes(), 0);
  ASSERT_EQ(space.commit(5 * granule), "");  // the addresses are free again
  fill_bytes(space.data(), 1, 5 * granule, kDevice);
  synchronize(kDevice);
}

TEST_F(MemoryCuda, DestructionGivesAllBack) {
  const MemoryStats before = memory_stats();
  {
    AddressSpace space(int64_t{1} << 30, kDevice);
    ASSERT_EQ(space.commit(1), "");
    ASSERT_EQ(space.commit(int64_t{1} << 23), "");
    fill_bytes(space.data(), 1, int64_t{1} << 23, kDevice);
  }
  EXPECT_EQ(memory_stats().committed_bytes, before.committed_bytes);
}

TEST_F(MemoryCuda, AFailedCommitChangesNothing) {
  AddressSpace space(memory_info(kDevice).total_bytes * 2, kDevice);
  const int64_t granule = space.granule_bytes();
  ASSERT_EQ(space.commit(granule), "");
  upload(space.data(), std::vector<float>{9.0f});
  download(reinterpret_cast<float*>(space.data()), 1);  // the first one asks for pinned memory
  const MemoryStats before = memory_stats();
  const auto expect_unchanged = [&] {
    EXPECT_EQ(space.committed_bytes(), granule);
    EXPECT_EQ(memory_stats().committed_bytes, before.committed_bytes);
    EXPECT_EQ(memory_stats().system_requests, before.system_requests);
    EXPECT_EQ(download(reinterpret_cast<float*>(space.data()), 1)[0], 9.0f);
  };

  EXPECT_NE(space.commit(space.reserved_bytes() + 1).find("expected at most"), std::string::npos);
  expect_unchanged();
  EXPECT_NE(space.commit(space.reserved_bytes()).find("out of memory"), std::string::npos);
  expect_unchanged();
  cuda::testing::fail_commits_after(0);
  EXPECT_EQ(space.commit(granule), "") << "asks for nothing new";
  EXPECT_NE(space.commit(2 * granule), "");
  expect_unchanged();
  cuda::testing::fail_commits_after(1);
  EXPECT_EQ(space.commit(2 * granule), "");
  EXPECT_NE(space.commit(3 * granule), "");
  cuda::testing::fail_commits_after(-1);
  EXPECT_EQ(space.committed_bytes(), 2 * granule);
  EXPECT_EQ(space.commit(3 * granule), "");
}

TEST_F(MemoryCuda, RefusesSizesThatMakeNoSense) {
  EXPECT_THROW(AddressSpace(0, kDevice), Error);
  EXPECT_THROW(AddressSpace(-1, kDevice), Error);
  EXPECT_THROW(AddressSpace(std::numeric_limits<int64_t>::max(), kDevice), Error);
}

TEST_F(MemoryCuda, TellsWhatIsFree) {
  const MemoryInfo before = memory_info(kDevice);
  EXPECT_GT(before.free_bytes, 0);
  EXPECT_LE(before.free_bytes, before.total_bytes);
  if (!kEmulated) return;  // other programs take and give back memory meanwhile
  const Committed memory(int64_t{64} << 20);
  EXPECT_EQ(memory_info(kDevice).free_bytes, before.free_bytes - (int64_t{64} << 20));
}

}  // namespace
}  // namespace offshoot::cuda
