// Memory of the host that devices read and write while the host goes on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace offshoot::cuda {

class PinnedMemory {
 public:
  // Throws Error when the system has none. Contents undefined.
  explicit PinnedMemory(int64_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_;
};

struct PinnedStats {
  int64_t bytes;
  int64_t requests;  // since the program began
};
PinnedStats pinned_stats();

}  // namespace offshoot::cuda
