// Memory that grows without moving.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/address_space.h"
#include "engine/storage.h"

namespace offshoot {

// Takes address space for `reserve_bytes` once and physical pages as they are committed. So growing
// copies nothing, pointers into the buffer stay valid, and the price of a new row is that row.
//
// Invariants  bytes() <= committed_bytes() <= reserved_bytes(), the latter two multiples of the
//             page size (CUDA: of its granule, 2 MiB); every committed page is backed, so a lack of
//             memory that the system reports is an Error of commit() and no later SIGBUS. (A
//             container's memory limit kills; nobody reports that one.)
class GrowableBuffer final : public Storage {
 public:
  // Throws Error when reserve_bytes < 1 or the address space cannot be had. Commits nothing.
  GrowableBuffer(std::string name, int64_t reserve_bytes, Device device = {});
  ~GrowableBuffer() override;

  int64_t committed_bytes() const { return space_->committed_bytes(); }
  int64_t reserved_bytes() const { return space_->reserved_bytes(); }

  // At least `bytes` are backed afterwards; new pages are zero. bytes() does not change: what was
  // committed stays invisible to tensors until expose(). Throws Error when the reserve or the
  // machine's memory is exhausted, and then nothing has changed.
  void commit(int64_t bytes);

  // Tensors may touch the first `bytes`, which are committed.
  void expose(int64_t bytes) noexcept { bytes_ = bytes; }

  // At most `bytes`, rounded up to a page, stay committed (CUDA: or to what was committed at once).
  // Pages that go lose their contents.
  void release_beyond(int64_t bytes) noexcept;

 private:
  std::string name_;
  std::unique_ptr<AddressSpace> space_;
};

namespace testing {

// The next commits that need new pages fail, after `successes` that do not, until called with -1:
// injected lack of memory.
void fail_commits_after(int64_t successes);

}  // namespace testing

}  // namespace offshoot
