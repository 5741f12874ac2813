#include "cuda/memory.h"

#include <cuda.h>

#include <atomic>

#include "cuda/check.h"
#include "cuda/context.h"
#include "cuda/driver.h"
#include "cuda/pinned_memory.h"

namespace offshoot::cuda {
namespace {

std::atomic<int64_t> committed_by_all{0};
std::atomic<int64_t> commits{0};
std::atomic<int64_t> commits_until_failure{-1};

bool injected_failure() {
  const int64_t left = commits_until_failure;
  if (left > 0) commits_until_failure = left - 1;
  return left == 0;
}

// Looked up at once, so that giving back cannot throw.
struct Driver {
  decltype(&cuGetErrorString) error_string = OFFSHOOT_CUDA_DRIVER(cuGetErrorString);
  decltype(&cuMemGetAllocationGranularity) granularity =
      OFFSHOOT_CUDA_DRIVER(cuMemGetAllocationGranularity);
  decltype(&cuMemAddressReserve) reserve = OFFSHOOT_CUDA_DRIVER(cuMemAddressReserve);
  decltype(&cuMemAddressFree) free = OFFSHOOT_CUDA_DRIVER(cuMemAddressFree);
  decltype(&cuMemCreate) create = OFFSHOOT_CUDA_DRIVER(cuMemCreate);
  decltype(&cuMemRelease) release = OFFSHOOT_CUDA_DRIVER(cuMemRelease);
  decltype(&cuMemMap) map = OFFSHOOT_CUDA_DRIVER(cuMemMap);
  decltype(&cuMemUnmap) unmap = OFFSHOOT_CUDA_DRIVER(cuMemUnmap);
  decltype(&cuMemSetAccess) set_access = OFFSHOOT_CUDA_DRIVER(cuMemSetAccess);
};

const Driver& driver() {
  static const Driver functions;
  return functions;
}

// "<call>: <the driver's words>".
std::string explain(CUresult result, const char* call) {
  const char* text = nullptr;
  if (driver().error_string(result, &text) != CUDA_SUCCESS) text = "unknown error";
  return std::string(call) + ": " + text;
}

void check(CUresult result, const char* call) {
  if (result != CUDA_SUCCESS) throw Error("[cuda] " + explain(result, call));
}

CUmemAllocationProp memory_of(int device) {
  CUmemAllocationProp its{};
  its.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  its.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  its.location.id = device;
  return its;
}

CUdeviceptr address(const std::byte* at) { return reinterpret_cast<CUdeviceptr>(at); }

int64_t round_up(int64_t bytes, int64_t granule) {
  return (bytes + granule - 1) / granule * granule;
}

}  // namespace

AddressSpace::AddressSpace(int64_t bytes, int device) : device_(device), stream_(use(device)) {
  constexpr int64_t kMost = int64_t{1} << 56;
  if (bytes < 1 || bytes > kMost) {
    throw Error("[cuda] address space: got " + std::to_string(bytes) + " bytes, expected 1.." +
                std::to_string(kMost));
  }
  const CUmemAllocationProp memory = memory_of(device);
  size_t granule = 0;
  check(driver().granularity(&granule, &memory, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
        "cuMemGetAllocationGranularity");
  granule_bytes_ = static_cast<int64_t>(granule);
  reserved_bytes_ = round_up(bytes, granule_bytes_);
  CUdeviceptr first = 0;
  check(driver().reserve(&first, static_cast<size_t>(reserved_bytes_), 0, 0, 0),
        ("cuMemAddressReserve of " + std::to_string(reserved_bytes_) + " bytes").c_str());
  data_ = reinterpret_cast<std::byte*>(first);
}

AddressSpace::~AddressSpace() {
  release_beyond(0);
  // What could not be given back, as after a kernel's fault, the process's end takes.
  if (parts_.empty()) driver().free(address(data_), static_cast<size_t>(reserved_bytes_));
}

std::string AddressSpace::commit(int64_t bytes) {
  if (bytes <= committed_bytes_) return {};
  if (bytes > reserved_bytes_) {
    return "got " + std::to_string(bytes) + " bytes, expected at most " +
           std::to_string(reserved_bytes_);
  }
  if (injected_failure()) return "injected lack of memory";

  use(device_);
  parts_.reserve(parts_.size() + 1);  // so that nothing throws once there is memory
  const int64_t added = round_up(bytes, granule_bytes_) - committed_bytes_;
  const auto size = static_cast<size_t>(added);
  const CUdeviceptr first = address(data_ + committed_bytes_);
  const CUmemAllocationProp memory = memory_of(device_);
  CUmemGenericAllocationHandle handle = 0;
  CUresult result = driver().create(&handle, size, &memory, 0);
  if (result != CUDA_SUCCESS) return explain(result, "cuMemCreate");

  result = driver().map(first, size, 0, handle, 0);
  if (result != CUDA_SUCCESS) {
    driver().release(handle);
    return explain(result, "cuMemMap");
  }
  const CUmemAccessDesc access = {memory.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  result = driver().set_access(first, size, &access, 1);
  if (result != CUDA_SUCCESS) {
    driver().unmap(first, size);
    driver().release(handle);
    return explain(result, "cuMemSetAccess");
  }
  parts_.push_back({handle, added});
  committed_bytes_ += added;
  committed_by_all += added;
  ++commits;
  return {};
}

void AddressSpace::release_beyond(int64_t bytes) noexcept {
  const auto dispensable = [&] {
    return !parts_.empty() && committed_bytes_ - parts_.back().bytes >= bytes;
  };
  if (!dispensable() || detail::capturing()) return;
  detail::count_synchronization();
  if (cudaStreamSynchronize(stream_) != cudaSuccess) return;  // somebody's next call reports it
  while (dispensable()) {
    const Part last = parts_.back();
    const CUdeviceptr first = address(data_ + committed_bytes_ - last.bytes);
    if (driver().unmap(first, static_cast<size_t>(last.bytes)) != CUDA_SUCCESS) return;
    driver().release(last.handle);
    parts_.pop_back();
    committed_bytes_ -= last.bytes;
    committed_by_all -= last.bytes;
  }
}

void copy_on_device(void* to, const void* from, int64_t bytes, int device) {
  if (bytes <= 0) return;
  OFFSHOOT_CUDA_CHECK(
      cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, use(device)));
}

void fill_bytes(void* to, uint8_t value, int64_t bytes, int device) {
  if (bytes <= 0) return;
  OFFSHOOT_CUDA_CHECK(cudaMemsetAsync(to, value, static_cast<size_t>(bytes), use(device)));
}

MemoryStats memory_stats() {
  const PinnedStats pinned = pinned_stats();
  return {committed_by_all, pinned.bytes, commits + pinned.requests};
}

MemoryInfo memory_info(int device) {
  use(device);
  size_t free = 0, total = 0;
  OFFSHOOT_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

namespace testing {

void fail_commits_after(int64_t successes) { commits_until_failure = successes; }

}  // namespace testing

}  // namespace offshoot::cuda
