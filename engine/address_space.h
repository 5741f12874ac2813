// Addresses that are taken once and get memory as it is needed: what both kinds of storage are made
// of, on every device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/device.h"

namespace offshoot {

// Invariant  committed_bytes() <= reserved_bytes(), both multiples of granule_bytes(); data()
// stays.
class AddressSpace {
 public:
  virtual ~AddressSpace() = default;
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  std::byte* data() const { return data_; }
  int64_t reserved_bytes() const { return reserved_bytes_; }
  int64_t committed_bytes() const { return committed_bytes_; }
  int64_t granule_bytes() const { return granule_bytes_; }
  // `bytes` rounded up to whole granules.
  int64_t granules(int64_t bytes) const {
    return (bytes + granule_bytes_ - 1) / granule_bytes_ * granule_bytes_;
  }

  // The first `bytes`, at most reserved_bytes(), are there afterwards. Returns the system's reason
  // where they cannot be had, and then has changed nothing; else an empty text.
  [[nodiscard]] virtual std::string commit(int64_t bytes) = 0;

  // About `bytes` stay: whole granules on the CPU; on CUDA what was committed at once goes at once.
  // What goes loses its contents.
  virtual void release_beyond(int64_t bytes) noexcept = 0;

 protected:
  AddressSpace() = default;

  std::byte* data_ = nullptr;
  int64_t reserved_bytes_ = 0;
  int64_t committed_bytes_ = 0;
  int64_t granule_bytes_ = 1;
};

// When pages of the CPU get memory. On CUDA it is always when they are committed.
enum class Backing {
  at_commit,  // so that a lack of memory that the system reports is commit()'s, and no later
              // SIGBUS. New pages are small ones, and zero
  at_touch,
};

// Throws Error when the addresses cannot be had.
std::unique_ptr<AddressSpace> reserve_addresses(int64_t bytes, Device device, Backing backing);

}  // namespace offshoot
