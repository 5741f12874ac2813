#include "tools/bench/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>

#include "engine/error.h"

namespace offshoot {
namespace {

// The number behind `key` in a file of "Key:   123 kB" lines, in bytes.
int64_t kilobytes_field(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) == 0) return std::stoll(line.substr(key.size())) * 1024;
  }
  fail("memory", "{}: got no line {}, expected one", path, key);
}

// A control group's limit less its use; "max" and groups without the files limit nothing.
int64_t group_available_bytes() {
  std::ifstream max_file("/sys/fs/cgroup/memory.max");
  std::ifstream current_file("/sys/fs/cgroup/memory.current");
  int64_t max = 0, current = 0;
  if (max_file >> max && current_file >> current) return std::max<int64_t>(0, max - current);
  return std::numeric_limits<int64_t>::max();
}

void on_forbidden_access(int) {
  constexpr char kText[] = "[growth] memory of another expert was touched\n";
  const ssize_t written = write(STDERR_FILENO, kText, sizeof kText - 1);
  _exit(written > 0 ? 1 : 2);
}

}  // namespace

int64_t resident_bytes() { return kilobytes_field("/proc/self/smaps_rollup", "Rss:"); }

int64_t available_bytes() {
  return std::min(kilobytes_field("/proc/meminfo", "MemAvailable:"), group_available_bytes());
}

FreshMapping::FreshMapping(int64_t bytes) : bytes_(bytes) {
  void* address = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) fail("memory", "cannot map {} bytes: {}", bytes, strerror(errno));
  data_ = static_cast<std::byte*>(address);
}

FreshMapping::~FreshMapping() { munmap(data_, static_cast<size_t>(bytes_)); }

ForbiddenRanges::ForbiddenRanges(std::span<const std::span<std::byte>> ranges) {
  std::signal(SIGSEGV, on_forbidden_access);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (const std::span<std::byte> range : ranges) {
    const auto first = reinterpret_cast<uintptr_t>(range.data());
    const size_t skipped = (page - first % page) % page;
    if (range.size() < skipped + page) continue;
    const auto whole = range.subspan(skipped, (range.size() - skipped) / page * page);
    if (mprotect(whole.data(), whole.size(), PROT_NONE) != 0) {
      fail("memory", "cannot protect {} bytes: {}", whole.size(), strerror(errno));
    }
    pages_.push_back(whole);
    bytes_ += static_cast<int64_t>(whole.size());
  }
}

ForbiddenRanges::~ForbiddenRanges() {
  for (const std::span<std::byte> whole : pages_) {
    mprotect(whole.data(), whole.size(), PROT_READ | PROT_WRITE);
  }
  std::signal(SIGSEGV, SIG_DFL);
}

}  // namespace offshoot
