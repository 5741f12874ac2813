// Storage: memory that tensors share. Two kinds: pooled (activations, scratch), here; growable
// (parameters, gradients, moments), in engine/growable_buffer.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/device.h"

namespace offshoot {

class Storage {
 public:
  virtual ~Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  // What may be touched now; a growable storage's changes with its rows.
  int64_t bytes() const { return bytes_; }
  // An address of that device: only the CPU's can be read here.
  Device device() const { return device_; }

 protected:
  explicit Storage(Device device) : device_(device) {}

  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;

 private:
  Device device_;
};

// At least `bytes` of memory, 64-byte aligned (CUDA: 256), contents undefined. It comes from a
// cache of blocks by size class and goes back there, so that a loop of constant shapes asks the
// system for nothing after its first pass, and one of varying shapes soon does not.
// Debug builds fill it with 0xff bytes (NaN), others when testing::poison_storage() asks for it:
// what is read before it is written shows. Builds with AddressSanitizer report what touches bytes
// that were not asked for, or were given back: the host, and kernels where they are emulated.
// Each device has a cache of its own; on CUDA a block given back may be taken at once, as all work
// of a device is done in order. Throws Error when bytes < 0 or the system has no memory.
std::shared_ptr<Storage> pooled_storage(int64_t bytes, Device device = {});

struct StorageStats {
  int64_t system_requests;  // since the program began: pooled blocks and growable commits
  int64_t pooled_bytes;     // taken by the cache: memory, on the CPU once it is touched
  int64_t pooled_bytes_in_use;
  int64_t pooled_bytes_peak;  // the most that was in use at once
  int64_t growable_bytes;     // committed
};
StorageStats storage_stats(Device device = {});

// Returns what lies beyond the last block in use to the system.
void release_pooled_storage(Device device = {});

namespace testing {
void poison_storage(bool on);
}  // namespace testing

namespace detail {
void count_growable_commit(int64_t bytes, Device device);  // one system request
void count_growable_release(int64_t bytes, Device device) noexcept;
}  // namespace detail

}  // namespace offshoot
