// One launch over many arrays: the table of their parts that it works through, one block a part.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "cuda/context.h"
#include "engine/tensor.h"

namespace offshoot {

// Elements of one block: enough to be worth a table's row, few enough to fill a device.
inline constexpr int64_t kDeviceChunk = 16384;

// Calls f(first, count) for the parts of [0, size).
template <class F>
void each_chunk(int64_t size, int64_t chunk, F&& f) {
  for (int64_t first = 0; first < size; first += chunk) f(first, std::min(chunk, size - first));
}

// The table on a CUDA device. Copied without waiting; its memory may go once the launch is given.
template <class Chunk>
class ChunkTable {
  static_assert(std::is_trivially_copyable_v<Chunk> && sizeof(Chunk) % sizeof(int64_t) == 0);

 public:
  ChunkTable(const std::vector<Chunk>& chunks, Device device)
      : count_(static_cast<int64_t>(chunks.size())) {
    const size_t bytes = chunks.size() * sizeof(Chunk);
    const Tensor host({static_cast<int64_t>(bytes / sizeof(int64_t))}, DType::i64);
    if (bytes > 0) std::memcpy(host.raw(), chunks.data(), bytes);
    words_ = host.to(device);
  }

  const Chunk* data() const { return reinterpret_cast<const Chunk*>(words_.address()); }
  int64_t count() const { return count_; }
  cuda::Stream stream() const { return cuda::use(words_.device().index); }

 private:
  int64_t count_;
  Tensor words_;
};

}  // namespace offshoot
