#include "engine/growable_buffer.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "cuda/memory.h"
#include "engine/error.h"

namespace offshoot {
namespace {

std::atomic<int64_t> commits_until_failure{-1};

bool injected_failure() {
  const int64_t left = commits_until_failure.load();
  if (left > 0) commits_until_failure.store(left - 1);
  return left == 0;
}

std::unique_ptr<AddressSpace> reserve(const std::string& name, int64_t bytes, Device device) {
  if (bytes < 1) fail(name, "reserve: got {} bytes, expected at least 1", bytes);
  try {
    return reserve_addresses(bytes, device, Backing::at_commit);
  } catch (const Error& error) {
    fail(name, "{}", error.what());
  }
}

}  // namespace

GrowableBuffer::GrowableBuffer(std::string name, int64_t reserve_bytes, Device device)
    : Storage(device), name_(std::move(name)), space_(reserve(name_, reserve_bytes, device)) {
  data_ = space_->data();
}

GrowableBuffer::~GrowableBuffer() { detail::count_growable_release(committed_bytes(), device()); }

void GrowableBuffer::commit(int64_t bytes) {
  const int64_t before = committed_bytes();
  if (bytes <= before) return;
  if (bytes > reserved_bytes()) {
    fail(name_, "growth beyond the reserve: got {} bytes, expected at most {}", bytes,
         reserved_bytes());
  }
  std::string cause = injected_failure() ? strerror(ENOMEM) : space_->commit(bytes);
  if (!cause.empty()) {
    release_pooled_storage(device());  // what activations leave idle
    cause = injected_failure() ? cause : space_->commit(bytes);
  }
  if (!cause.empty()) {
    fail(name_, "cannot commit {} more bytes: {}", space_->granules(bytes) - before, cause);
  }
  const int64_t added = committed_bytes() - before;
  detail::count_growable_commit(added, device());
  if constexpr (kHasCuda) {
    if (device().is_cuda()) cuda::fill_bytes(data() + before, 0, added, device().index);
  }
}

void GrowableBuffer::release_beyond(int64_t bytes) noexcept {
  const int64_t before = committed_bytes();
  space_->release_beyond(bytes);
  detail::count_growable_release(before - committed_bytes(), device());
}

namespace testing {

void fail_commits_after(int64_t successes) { commits_until_failure.store(successes); }

}  // namespace testing

}  // namespace offshoot
