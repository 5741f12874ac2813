// What only the emulated device can show: a driver that fails, a stream that is late, fresh memory.
#include <algorithm>
#include <string>

#include "cuda/check.h"
#include "cuda/emulation/runtime.h"
#include "cuda/error.h"
#include "cuda/graph.h"
#include "tests/cuda/device_test.h"
#include "tests/cuda/row_kernels.h"

namespace offshoot::cuda {
namespace {

class LateCuda : public DeviceTest {
 protected:
  void SetUp() override { emulation::run_late(true); }
  void TearDown() override { emulation::run_late(false); }
};

bool all_are(const std::byte* bytes, int64_t count, uint8_t value) {
  return std::all_of(bytes, bytes + count, [&](std::byte b) { return b == std::byte{value}; });
}

TEST(EmulatedMemoryCuda, FreshMemoryIsNaN) {
  AddressSpace space(int64_t{1} << 30, kDevice);
  const int64_t granule = space.granule_bytes();
  ASSERT_EQ(space.commit(3 * granule), "");
  EXPECT_TRUE(all_are(space.data(), 3 * granule, 0xff));
  fill_bytes(space.data(), 0, 3 * granule, kDevice);
  space.release_beyond(0);
  ASSERT_EQ(space.commit(granule), "");
  EXPECT_TRUE(all_are(space.data(), granule, 0xff));
}

TEST(EmulatedMemoryCuda, MemoryBeyondTheCommitFaults) {
  AddressSpace space(int64_t{1} << 30, kDevice);
  ASSERT_EQ(space.commit(1), "");
  volatile std::byte* data = space.data();
  const int64_t granule = space.granule_bytes();
  data[granule - 1] = std::byte{1};
  EXPECT_DEATH(data[granule] = std::byte{1}, "");
  ASSERT_EQ(space.commit(granule + 1), "");
  data[granule] = std::byte{1};
  space.release_beyond(granule);
  EXPECT_DEATH(data[granule] = std::byte{1}, "");
}

TEST(EmulatedMemoryCuda, EachCallOfTheDriverMayFail) {
  AddressSpace space(int64_t{1} << 30, kDevice);
  const int64_t granule = space.granule_bytes();
  ASSERT_EQ(space.commit(granule), "");
  upload(space.data(), std::vector<float>{1.0f});
  const int64_t living = emulation::living_allocations();
  for (const char* call : {"cuMemCreate", "cuMemMap", "cuMemSetAccess"}) {
    emulation::fail_next(call);
    EXPECT_EQ(space.commit(3 * granule), std::string(call) + ": out of memory");
    EXPECT_EQ(space.committed_bytes(), granule);
    EXPECT_EQ(emulation::living_allocations(), living);
    EXPECT_EQ(download(reinterpret_cast<float*>(space.data()), 1)[0], 1.0f);
    // The same addresses can be had afterwards.
    EXPECT_EQ(space.commit(2 * granule), "");
    space.release_beyond(granule);
    EXPECT_EQ(emulation::living_allocations(), living);
  }
  emulation::fail_next("cuMemAddressReserve");
  EXPECT_THROW(AddressSpace(1, kDevice), Error);
}

TEST(EmulatedMemoryCuda, CopiesBesidesPinnedMemoryAreRefused) {
  const Committed memory(8);
  int64_t number = 0;
  EXPECT_EQ(cudaMemcpyAsync(memory.data(), &number, 8, cudaMemcpyHostToDevice, use(kDevice)),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(&number, memory.data(), 8, cudaMemcpyDeviceToHost, use(kDevice)),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
}

constexpr int kSecondDevice = 1;

// A granule of the second device.
struct Second {
  AddressSpace space{1, kSecondDevice};
  Second() { EXPECT_EQ(space.commit(1), ""); }
};

TEST(SecondDeviceCuda, HasMemoryOfItsOwn) {
  const MemoryInfo first = memory_info(kDevice), before = memory_info(kSecondDevice);
  const Second second;
  EXPECT_EQ(memory_info(kDevice).free_bytes, first.free_bytes);
  EXPECT_EQ(memory_info(kSecondDevice).free_bytes,
            before.free_bytes - second.space.granule_bytes());
}

TEST(SecondDeviceCuda, NoDeviceTouchesTheOthersMemory) {
  const Second second;
  const Committed first(8);
  EXPECT_DEATH((fill_bytes(second.space.data(), 1, 8, kDevice), synchronize(kDevice)), "");
  EXPECT_DEATH((fill_bytes(first.data(), 1, 8, kSecondDevice), synchronize(kSecondDevice)), "");
  fill_bytes(second.space.data(), 1, 8, kSecondDevice);
  fill_bytes(first.data(), 2, 8, kDevice);
  synchronize(kSecondDevice);
  synchronize(kDevice);
  EXPECT_TRUE(all_are(second.space.data(), 8, 1));
  EXPECT_TRUE(all_are(first.data(), 8, 2));
}

TEST(SecondDeviceCuda, AStreamIsUsedWhereItsDeviceIsCurrent) {
  const Committed x(16), rows(8);
  const Stream stream = use(kDevice);
  use(kSecondDevice);
  EXPECT_THROW(number_rows(x.as<float>(), rows.as<int64_t>(), 1, stream), Error);
  Event event(kSecondDevice);
  EXPECT_EQ(cudaEventRecord(event.handle(), stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidResourceHandle);
  use(kDevice);
}

TEST(SecondDeviceCuda, ACaptureTakesTheWorkOfItsDeviceOnly) {
  const Second second;
  const Committed first(8);
  fill_bytes(first.data(), 1, 8, kDevice);
  Graph graph = Graph::capture(kDevice, [&] {
    fill_bytes(first.data(), 2, 8, kDevice);
    fill_bytes(second.space.data(), 3, 8, kSecondDevice);
  });
  synchronize(kDevice);
  synchronize(kSecondDevice);
  EXPECT_TRUE(all_are(first.data(), 8, 1));
  EXPECT_TRUE(all_are(second.space.data(), 8, 3));
  graph.replay();
  synchronize(kDevice);
  EXPECT_TRUE(all_are(first.data(), 8, 2));
}

TEST_F(LateCuda, WhoWaitsForOneDeviceWaitsForNoOther) {
  const Second second;
  const Committed first(8);
  fill_bytes(second.space.data(), 1, 8, kSecondDevice);
  fill_bytes(first.data(), 1, 8, kDevice);
  synchronize(kDevice);
  EXPECT_TRUE(all_are(first.data(), 8, 1));
  EXPECT_TRUE(all_are(second.space.data(), 8, 0xff));
  synchronize(kSecondDevice);
  EXPECT_TRUE(all_are(second.space.data(), 8, 1));
}

TEST_F(LateCuda, NothingHappensUntilSomebodyWaits) {
  const Committed x(4096), rows(8);
  upload(rows.data(), std::vector<int64_t>{3});
  fill_bytes(x.data(), 0, 4096, kDevice);
  number_rows(x.as<float>(), rows.as<int64_t>(), 1, use(kDevice));
  Event event(kDevice);
  event.record();
  EXPECT_FALSE(event.done());
  EXPECT_TRUE(all_are(x.data(), 4096, 0xff));
  const int64_t before = synchronizations();
  event.wait();
  EXPECT_EQ(synchronizations(), before + 1);
  EXPECT_EQ(x.as<float>()[2], 3.0f);
}

TEST_F(LateCuda, StagingIsNotReusedTooEarly) {
  constexpr int kCopies = 200;
  const Committed memory(kCopies * 8);
  for (int64_t i = 0; i < kCopies; ++i) {
    copy_to_device(memory.as<int64_t>() + i, &i, 8, kDevice);
  }
  const std::vector<int64_t> back = download(memory.as<int64_t>(), kCopies);
  for (int64_t i = 0; i < kCopies; ++i) EXPECT_EQ(back[static_cast<size_t>(i)], i);
}

TEST_F(LateCuda, LargeCopiesWaitForTheirStaging) {
  constexpr int64_t kNumbers = 3 << 20;  // 24 MiB, more than the ring
  const Committed memory(kNumbers * 8);
  std::vector<int64_t> numbers(kNumbers);
  for (int64_t i = 0; i < kNumbers; ++i) numbers[static_cast<size_t>(i)] = i;
  upload(memory.data(), numbers);
  EXPECT_TRUE(download(memory.as<int64_t>(), kNumbers) == numbers);
}

TEST_F(LateCuda, HostCopiesArriveWhenWaitedFor) {
  const Committed memory(8);
  int64_t number = 1;
  copy_to_device(memory.data(), &number, 8, kDevice);
  HostCopy first(memory.data(), 8, kDevice);
  number = 2;
  copy_to_device(memory.data(), &number, 8, kDevice);
  { HostCopy dropped(memory.data(), 8, kDevice); }
  HostCopy second(memory.data(), 8, kDevice);
  const int64_t before = synchronizations();
  EXPECT_EQ(*static_cast<const int64_t*>(first.wait()), 1);
  EXPECT_EQ(*static_cast<const int64_t*>(second.wait()), 2);
  EXPECT_EQ(synchronizations(), before + 1) << "the second had arrived with the first";
}

TEST_F(LateCuda, MemoryIsGivenBackAfterItsLastUse) {
  AddressSpace space(1, kDevice);
  ASSERT_EQ(space.commit(1), "");
  fill_bytes(space.data(), 1, space.granule_bytes(), kDevice);
  space.release_beyond(0);  // would fault if the fill came later
  EXPECT_EQ(space.committed_bytes(), 0);
}

TEST_F(LateCuda, AGraphMayBeDroppedAfterItsReplay) {
  const Committed memory(8);
  Graph::capture(kDevice, [&] { fill_bytes(memory.data(), 5, 8, kDevice); }).replay();
  EXPECT_TRUE(all_are(memory.data(), 8, 5));
}

}  // namespace
}  // namespace offshoot::cuda
