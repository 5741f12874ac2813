// Device memory that grows without moving, and copies. Copies run in the device's stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuda/stream.h"

namespace offshoot::cuda {

// Takes device addresses once and memory for them as it is committed, in whole granules (2 MiB on
// today's devices). So pointers into it stay valid, and graphs captured before a growth replay
// after it.
//
// Invariants  committed_bytes() <= reserved_bytes(), both multiples of granule_bytes(). The first
//             committed_bytes() may be touched by kernels and copies; what lies beyond faults.
class AddressSpace {
 public:
  // Throws Error when bytes < 1, there is no such device or it has too few addresses left.
  AddressSpace(int64_t bytes, int device);
  ~AddressSpace();  // waits for the device where memory is committed
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  std::byte* data() const { return data_; }
  int device() const { return device_; }
  int64_t granule_bytes() const { return granule_bytes_; }
  int64_t reserved_bytes() const { return reserved_bytes_; }
  int64_t committed_bytes() const { return committed_bytes_; }

  // At least the first `bytes` are backed afterwards; new memory holds anything. Returns "", or why
  // it could not be, and then nothing has changed.
  [[nodiscard]] std::string commit(int64_t bytes);

  // Gives memory beyond `bytes` back. What one commit() added goes as a whole or stays, so more
  // than `bytes` may stay. Waits for the device first, if there is anything to give back; a thread
  // that captures a graph gives nothing back.
  void release_beyond(int64_t bytes) noexcept;

 private:
  struct Part {
    unsigned long long handle;
    int64_t bytes;
  };

  int device_;
  Stream stream_;
  int64_t granule_bytes_ = 0;
  int64_t reserved_bytes_ = 0;
  int64_t committed_bytes_ = 0;
  std::byte* data_ = nullptr;
  std::vector<Part> parts_;  // from the front
};

// `from` may be changed on return: the bytes go through pinned memory, a few MiB at a time. Waits
// for the device only when tens of MiB, or of copies, are under way; each wait is counted.
void copy_to_device(void* to, const void* from, int64_t bytes, int device);
// Waits: one synchronization.
void copy_to_host(void* to, const void* from, int64_t bytes, int device);
// For growth and poisoning; ranges do not overlap.
void copy_on_device(void* to, const void* from, int64_t bytes, int device);
void fill_bytes(void* to, uint8_t value, int64_t bytes, int device);

// The bytes at `from` as they will be when the device gets here, copied to the host meanwhile. For
// small arrays: the pinned memory comes from a cache that only grows.
class HostCopy {
 public:
  HostCopy(const void* from, int64_t bytes, int device);

  // The bytes, valid as long as this object. A synchronization only where they are not there yet.
  const void* wait();

  struct Block;  // private to the implementation

 private:
  struct GiveBack {
    void operator()(Block* block) const noexcept;
  };
  std::unique_ptr<Block, GiveBack> block_;
};

struct MemoryStats {
  int64_t committed_bytes;  // on all devices
  int64_t pinned_bytes;     // of the host
  int64_t system_requests;  // since the program began: commits and pinned blocks
};
MemoryStats memory_stats();

struct MemoryInfo {
  int64_t free_bytes;
  int64_t total_bytes;
};
MemoryInfo memory_info(int device);

namespace testing {

// The next commits that need new memory fail, after `successes` that do not, until called with -1.
void fail_commits_after(int64_t successes);

}  // namespace testing

}  // namespace offshoot::cuda
