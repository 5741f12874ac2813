// The driver's virtual memory management on memory of the host, as strict as the driver: whole
// granules, whole mappings, no access before it is set.
#include <cuda.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "cuda/emulation/runtime.h"

namespace offshoot::emulation {
namespace {

constexpr size_t kGranuleBytes = size_t{2} << 20;

bool is_whole(size_t bytes) { return bytes > 0 && bytes % kGranuleBytes == 0; }

// A file of one granule of 0xff bytes. Mapped privately, it makes fresh device memory NaN at the
// price of the pages that are written.
int poisoned_file() {
  static const int file = [] {
    const int made = memfd_create("offshoot-poison", MFD_CLOEXEC);
    const std::vector<unsigned char> bytes(kGranuleBytes, 0xff);
    const ssize_t written = made < 0 ? -1 : write(made, bytes.data(), bytes.size());
    return written == static_cast<ssize_t>(bytes.size()) ? made : -1;
  }();
  return file;
}

struct Allocation {
  int device;
  size_t bytes;
  bool mapped;
  bool released;
};

struct Mapping {
  size_t bytes;
  CUmemGenericAllocationHandle handle;
  bool accessible;
};

struct Memory {
  std::mutex mutex;
  std::map<CUdeviceptr, size_t> reserved;
  std::map<CUdeviceptr, Mapping> mappings;
  std::map<CUmemGenericAllocationHandle, Allocation> allocations;
  CUmemGenericAllocationHandle last_handle = 0;
  std::array<size_t, kNumDevices> allocated_bytes = {};
  std::string fails_next;

  static Memory& instance() {
    static Memory& memory = *new Memory;
    return memory;
  }

  bool fails(const char* call) {
    if (fails_next != call) return false;
    fails_next.clear();
    return true;
  }

  bool is_reserved(CUdeviceptr first, size_t bytes) const {
    auto range = reserved.upper_bound(first);
    if (range == reserved.begin()) return false;
    --range;
    return first + bytes <= range->first + range->second;
  }

  bool is_free(CUdeviceptr first, size_t bytes) const {
    auto next = mappings.lower_bound(first);
    if (next != mappings.end() && next->first < first + bytes) return false;
    if (next == mappings.begin()) return true;
    --next;
    return next->first + next->second.bytes <= first;
  }

  void forget_if_unused(CUmemGenericAllocationHandle handle) {
    const Allocation& its = allocations.at(handle);
    if (its.mapped || !its.released) return;
    allocated_bytes[static_cast<size_t>(its.device)] -= its.bytes;
    allocations.erase(handle);
  }
};

bool is_device(const CUmemLocation& location) {
  return location.type == CU_MEM_LOCATION_TYPE_DEVICE && location.id >= 0 &&
         location.id < kNumDevices;
}

void* at(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

bool make_inaccessible(CUdeviceptr first, size_t bytes) {
  return mmap(at(first), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
              -1, 0) != MAP_FAILED;
}

CUresult error_string(CUresult error, const char** text) {
  switch (error) {
    case CUDA_SUCCESS:
      *text = "no error";
      return CUDA_SUCCESS;
    case CUDA_ERROR_OUT_OF_MEMORY:
      *text = "out of memory";
      return CUDA_SUCCESS;
    case CUDA_ERROR_INVALID_VALUE:
      *text = "invalid argument";
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult granularity(size_t* bytes, const CUmemAllocationProp* memory,
                     CUmemAllocationGranularity_flags) {
  if (!is_device(memory->location)) return CUDA_ERROR_INVALID_VALUE;
  *bytes = kGranuleBytes;
  return CUDA_SUCCESS;
}

// Granules begin at multiples of a granule, as on a device.
CUresult reserve(CUdeviceptr* first, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  if (!is_whole(bytes)) return CUDA_ERROR_INVALID_VALUE;
  if (memory.fails("cuMemAddressReserve")) return CUDA_ERROR_OUT_OF_MEMORY;
  void* found = mmap(nullptr, bytes + kGranuleBytes, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (found == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  const auto address = reinterpret_cast<CUdeviceptr>(found);
  const CUdeviceptr aligned = (address + kGranuleBytes - 1) / kGranuleBytes * kGranuleBytes;
  if (aligned > address) munmap(found, aligned - address);
  const size_t rest = address + kGranuleBytes - aligned;
  if (rest > 0) munmap(at(aligned + bytes), rest);
  memory.reserved[aligned] = bytes;
  *first = aligned;
  return CUDA_SUCCESS;
}

CUresult free_addresses(CUdeviceptr first, size_t bytes) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  const auto range = memory.reserved.find(first);
  if (range == memory.reserved.end() || range->second != bytes || !memory.is_free(first, bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  munmap(at(first), bytes);
  memory.reserved.erase(range);
  return CUDA_SUCCESS;
}

CUresult create(CUmemGenericAllocationHandle* handle, size_t bytes,
                const CUmemAllocationProp* properties, unsigned long long flags) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  if (!is_whole(bytes) || flags != 0 || !is_device(properties->location)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto most = static_cast<size_t>(memory_bytes());
  const int device = properties->location.id;
  size_t& allocated = memory.allocated_bytes[static_cast<size_t>(device)];
  if (memory.fails("cuMemCreate") || bytes > most - allocated) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *handle = ++memory.last_handle;
  memory.allocations[*handle] = {device, bytes, false, false};
  allocated += bytes;
  return CUDA_SUCCESS;
}

CUresult release_allocation(CUmemGenericAllocationHandle handle) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  const auto found = memory.allocations.find(handle);
  if (found == memory.allocations.end() || found->second.released) return CUDA_ERROR_INVALID_VALUE;
  found->second.released = true;
  memory.forget_if_unused(handle);
  return CUDA_SUCCESS;
}

CUresult map_memory(CUdeviceptr first, size_t bytes, size_t offset,
                    CUmemGenericAllocationHandle handle, unsigned long long flags) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  const auto found = memory.allocations.find(handle);
  if (found == memory.allocations.end() || found->second.bytes != bytes || found->second.mapped ||
      offset != 0 || flags != 0 || first % kGranuleBytes != 0 ||
      !memory.is_reserved(first, bytes) || !memory.is_free(first, bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (memory.fails("cuMemMap")) return CUDA_ERROR_OUT_OF_MEMORY;
  for (size_t done = 0; done < bytes; done += kGranuleBytes) {
    if (mmap(at(first + done), kGranuleBytes, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
             poisoned_file(), 0) == MAP_FAILED) {
      make_inaccessible(first, bytes);
      return CUDA_ERROR_OUT_OF_MEMORY;
    }
  }
  found->second.mapped = true;
  memory.mappings[first] = {bytes, handle, false};
  return CUDA_SUCCESS;
}

CUresult unmap(CUdeviceptr first, size_t bytes) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  const auto found = memory.mappings.find(first);
  if (found == memory.mappings.end() || found->second.bytes != bytes) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!make_inaccessible(first, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUmemGenericAllocationHandle handle = found->second.handle;
  memory.mappings.erase(found);
  memory.allocations.at(handle).mapped = false;
  memory.forget_if_unused(handle);
  return CUDA_SUCCESS;
}

CUresult set_access(CUdeviceptr first, size_t bytes, const CUmemAccessDesc* access, size_t count) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  const auto found = memory.mappings.find(first);
  if (found == memory.mappings.end() || found->second.bytes != bytes || count != 1 ||
      !is_device(access->location) ||
      access->location.id != memory.allocations.at(found->second.handle).device ||
      access->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (memory.fails("cuMemSetAccess")) return CUDA_ERROR_OUT_OF_MEMORY;
  const int error = mprotect(at(first), bytes, PROT_READ | PROT_WRITE);
  found->second.accessible = error == 0;
  return error == 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

template <class F>
void* entry(F* function) {
  return reinterpret_cast<void*>(function);
}

}  // namespace

int64_t memory_bytes() { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE); }

int64_t free_bytes(int device) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  return memory_bytes() - static_cast<int64_t>(memory.allocated_bytes[static_cast<size_t>(device)]);
}

void open_other_devices(int device, bool open) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  if (memory.allocated_bytes[static_cast<size_t>(1 - device)] == 0) return;
  for (const auto& [first, mapping] : memory.mappings) {
    if (!mapping.accessible || memory.allocations.at(mapping.handle).device == device) continue;
    mprotect(at(first), mapping.bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

void* driver_entry(const char* name) {
  static const std::map<std::string, void*, std::less<>> functions = {
      {"cuGetErrorString", entry<decltype(cuGetErrorString)>(error_string)},
      {"cuMemGetAllocationGranularity",
       entry<decltype(cuMemGetAllocationGranularity)>(granularity)},
      {"cuMemAddressReserve", entry<decltype(cuMemAddressReserve)>(reserve)},
      {"cuMemAddressFree", entry<decltype(cuMemAddressFree)>(free_addresses)},
      {"cuMemCreate", entry<decltype(cuMemCreate)>(create)},
      {"cuMemRelease", entry<decltype(cuMemRelease)>(release_allocation)},
      {"cuMemMap", entry<decltype(cuMemMap)>(map_memory)},
      {"cuMemUnmap", entry<decltype(cuMemUnmap)>(unmap)},
      {"cuMemSetAccess", entry<decltype(cuMemSetAccess)>(set_access)}};
  const auto found = functions.find(name);
  return found == functions.end() ? nullptr : found->second;
}

void fail_next(const char* driver_call) {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  memory.fails_next = driver_call;
}

int64_t living_allocations() {
  Memory& memory = Memory::instance();
  const std::lock_guard lock(memory.mutex);
  return static_cast<int64_t>(memory.allocations.size());
}

}  // namespace offshoot::emulation
