#include "engine/address_space.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cuda/memory.h"
#include "engine/error.h"

namespace offshoot {
namespace {

// Gives every page of the range memory. Returns 0 or an errno.
int populate(std::byte* first, size_t bytes, int64_t page_bytes) {
  if (madvise(first, bytes, MADV_POPULATE_WRITE) == 0) return 0;
  if (errno != EINVAL) return errno;
  for (size_t offset = 0; offset < bytes; offset += static_cast<size_t>(page_bytes)) {
    first[offset] = std::byte{0};  // kernels before 5.14
  }
  return 0;
}

class CpuAddresses final : public AddressSpace {
 public:
  CpuAddresses(int64_t bytes, Backing backing) : backing_(backing) {
    granule_bytes_ = sysconf(_SC_PAGESIZE);
    reserved_bytes_ = granules(bytes);
    void* address = mmap(nullptr, size(reserved_bytes_), PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) {
      fail("storage", "cannot reserve {} bytes of address space: {}", reserved_bytes_,
           strerror(errno));
    }
    // One huge page would charge a small expert 2 MiB.
    if (backing == Backing::at_commit) madvise(address, size(reserved_bytes_), MADV_NOHUGEPAGE);
    data_ = static_cast<std::byte*>(address);
  }

  ~CpuAddresses() override { munmap(data_, size(reserved_bytes_)); }

  std::string commit(int64_t bytes) override {
    const int64_t wanted = granules(bytes), added = wanted - committed_bytes_;
    if (added <= 0) return {};
    std::byte* first = data_ + committed_bytes_;
    int cause = mprotect(first, size(added), PROT_READ | PROT_WRITE) == 0 ? 0 : errno;
    if (cause == 0 && backing_ == Backing::at_commit) {
      cause = populate(first, size(added), granule_bytes_);
    }
    if (cause != 0) {
      withdraw(committed_bytes_, added);
      return strerror(cause);
    }
    committed_bytes_ = wanted;
    return {};
  }

  void release_beyond(int64_t bytes) noexcept override {
    const int64_t kept = granules(bytes);
    if (kept >= committed_bytes_) return;
    withdraw(kept, committed_bytes_ - kept);
    committed_bytes_ = kept;
  }

 private:
  static size_t size(int64_t bytes) { return static_cast<size_t>(bytes); }
  void withdraw(int64_t offset, int64_t bytes) noexcept {
    madvise(data_ + offset, size(bytes), MADV_DONTNEED);
    mprotect(data_ + offset, size(bytes), PROT_NONE);
  }

  Backing backing_;
};

class CudaAddresses final : public AddressSpace {
 public:
  CudaAddresses(int64_t bytes, int device) : space_(bytes, device) {
    granule_bytes_ = space_.granule_bytes();
    reserved_bytes_ = space_.reserved_bytes();
    data_ = static_cast<std::byte*>(space_.data());
  }

  std::string commit(int64_t bytes) override {
    std::string cause = space_.commit(bytes);
    committed_bytes_ = space_.committed_bytes();
    return cause;
  }

  void release_beyond(int64_t bytes) noexcept override {
    space_.release_beyond(bytes);
    committed_bytes_ = space_.committed_bytes();
  }

 private:
  cuda::AddressSpace space_;
};

}  // namespace

std::unique_ptr<AddressSpace> reserve_addresses(int64_t bytes, Device device, Backing backing) {
  OFFSHOOT_CHECK(bytes > 0, "{} bytes", bytes);
  if constexpr (kHasCuda) {
    if (device.is_cuda()) return std::make_unique<CudaAddresses>(bytes, device.index);
  }
  return std::make_unique<CpuAddresses>(bytes, backing);
}

}  // namespace offshoot
