#include "engine/growable_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/error.h"

namespace offshoot {
namespace {

std::atomic<int64_t> commits_until_failure{-1};

bool injected_failure() {
  const int64_t left = commits_until_failure.load();
  if (left > 0) commits_until_failure.store(left - 1);
  return left == 0;
}

int64_t page_bytes() {
  static const int64_t bytes = sysconf(_SC_PAGESIZE);
  return bytes;
}

int64_t round_up_to_page(int64_t bytes) {
  return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

// Gives every page of the range memory. Returns 0 or an errno.
int populate(std::byte* first, size_t bytes) {
  if (madvise(first, bytes, MADV_POPULATE_WRITE) == 0) return 0;
  if (errno != EINVAL) return errno;
  for (size_t offset = 0; offset < bytes; offset += static_cast<size_t>(page_bytes())) {
    first[offset] = std::byte{0};  // kernels before 5.14
  }
  return 0;
}

}  // namespace

GrowableBuffer::GrowableBuffer(std::string name, int64_t reserve_bytes)
    : name_(std::move(name)), reserved_bytes_(round_up_to_page(reserve_bytes)) {
  if (reserve_bytes < 1) fail(name_, "reserve: got {} bytes, expected at least 1", reserve_bytes);
  void* address = mmap(nullptr, static_cast<size_t>(reserved_bytes_), PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    fail(name_, "cannot reserve {} bytes of address space: {}", reserved_bytes_, strerror(errno));
  }
  // One huge page would charge a small expert 2 MiB.
  madvise(address, static_cast<size_t>(reserved_bytes_), MADV_NOHUGEPAGE);
  data_ = static_cast<std::byte*>(address);
}

GrowableBuffer::~GrowableBuffer() {
  detail::count_growable_release(committed_bytes_);
  munmap(data_, static_cast<size_t>(reserved_bytes_));
}

void GrowableBuffer::commit(int64_t bytes) {
  const int64_t wanted_bytes = round_up_to_page(bytes);
  if (wanted_bytes <= committed_bytes_) return;
  if (wanted_bytes > reserved_bytes_) {
    fail(name_, "growth beyond the reserve: got {} bytes, expected at most {}", bytes,
         reserved_bytes_);
  }
  std::byte* first_new = data_ + committed_bytes_;
  const auto new_bytes = static_cast<size_t>(wanted_bytes - committed_bytes_);
  int cause = injected_failure() ? ENOMEM : 0;
  if (cause == 0 && mprotect(first_new, new_bytes, PROT_READ | PROT_WRITE) != 0) cause = errno;
  if (cause == 0) cause = populate(first_new, new_bytes);
  if (cause != 0) {
    madvise(first_new, new_bytes, MADV_DONTNEED);
    mprotect(first_new, new_bytes, PROT_NONE);
    fail(name_, "cannot commit {} more bytes: {}", new_bytes, strerror(cause));
  }
  detail::count_growable_commit(wanted_bytes - committed_bytes_);
  committed_bytes_ = wanted_bytes;
}

void GrowableBuffer::release_beyond(int64_t bytes) noexcept {
  const int64_t kept_bytes = round_up_to_page(bytes);
  if (kept_bytes >= committed_bytes_) return;
  const int64_t freed_bytes = committed_bytes_ - kept_bytes;
  madvise(data_ + kept_bytes, static_cast<size_t>(freed_bytes), MADV_DONTNEED);
  mprotect(data_ + kept_bytes, static_cast<size_t>(freed_bytes), PROT_NONE);
  detail::count_growable_release(freed_bytes);
  committed_bytes_ = kept_bytes;
}

namespace testing {

void fail_commits_after(int64_t successes) { commits_until_failure.store(successes); }

}  // namespace testing

}  // namespace offshoot
