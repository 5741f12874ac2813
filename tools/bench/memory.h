// This process's memory, and the machine's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace offshoot {

// Pages this process has in memory, in bytes, from /proc/self/smaps_rollup: counted page by page,
// where /proc/self/statm may lag by some dozen pages a processor.
int64_t resident_bytes();

// What the machine, or this process's control group, still has to give.
int64_t available_bytes();

// Memory mapped anew and never touched; gone with this object.
class FreshMapping {
 public:
  explicit FreshMapping(int64_t bytes);
  FreshMapping(const FreshMapping&) = delete;
  FreshMapping& operator=(const FreshMapping&) = delete;
  ~FreshMapping();
  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
  int64_t bytes_;
};

// While it lives, whoever reads or writes a whole page of the given ranges ends the program with a
// line that says so.
class ForbiddenRanges {
 public:
  explicit ForbiddenRanges(std::span<const std::span<std::byte>> ranges);
  ForbiddenRanges(const ForbiddenRanges&) = delete;
  ForbiddenRanges& operator=(const ForbiddenRanges&) = delete;
  ~ForbiddenRanges();

  int64_t bytes() const { return bytes_; }  // in whole pages

 private:
  std::vector<std::span<std::byte>> pages_;
  int64_t bytes_ = 0;
};

}  // namespace offshoot
