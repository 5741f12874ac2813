#include "engine/storage.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

#ifdef OFFSHOOT_POISON
std::atomic<bool> poison{true};
#else
std::atomic<bool> poison{false};
#endif

constexpr int64_t kAlignment = 64;
constexpr int64_t kSmallestBlock = 256;
// A free block up to this many times the wanted size is used rather than the system asked.
constexpr int64_t kSlack = 4;

// Four classes an octave: at most a fifth of a block is wasted.
int64_t size_class(int64_t bytes) {
  if (bytes <= kSmallestBlock) return kSmallestBlock;
  const auto octave = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes - 1)));
  const int64_t step = std::max(octave / 4, kAlignment);
  return (bytes + step - 1) / step * step;
}

// Blocks by size class. It is never destroyed: tensors with static lifetime may outlive it.
class Pool {
 public:
  static Pool& instance() {
    static Pool& pool = *new Pool;
    return pool;
  }

  // Sets `block_bytes` to the block's size.
  std::byte* take(int64_t bytes, int64_t& block_bytes) {
    const std::lock_guard lock(mutex_);
    block_bytes = size_class(bytes);
    std::byte* block = nullptr;
    const auto found = std::ranges::find_if(
        free_.lower_bound(block_bytes), free_.upper_bound(block_bytes * kSlack),
        [](const auto& blocks) { return !blocks.second.empty(); });
    if (found != free_.upper_bound(block_bytes * kSlack)) {
      block = found->second.back();
      found->second.pop_back();
      block_bytes = found->first;
    } else {
      block = request(block_bytes);
    }
    stats_.pooled_bytes_in_use += block_bytes;
    stats_.pooled_bytes_peak = std::max(stats_.pooled_bytes_peak, stats_.pooled_bytes_in_use);
    return block;
  }

  void give_back(std::byte* block, int64_t block_bytes) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.pooled_bytes_in_use -= block_bytes;
    free_[block_bytes].push_back(block);
  }

  void release() {
    const std::lock_guard lock(mutex_);
    for (auto& [block_bytes, blocks] : free_) {
      for (std::byte* block : blocks) std::free(block);
      stats_.pooled_bytes -= block_bytes * static_cast<int64_t>(blocks.size());
      blocks.clear();
    }
  }

  template <class F>
  auto with_stats(F&& f) {
    const std::lock_guard lock(mutex_);
    return f(stats_);
  }

 private:
  std::byte* request(int64_t block_bytes) {
    // Room for the pointer in the free list is made now, so that giving back cannot fail.
    auto& blocks = free_[block_bytes];
    int64_t& made = blocks_made_[block_bytes];
    blocks.reserve(static_cast<size_t>(std::max<int64_t>(made + 1, 8)));
    void* block = std::aligned_alloc(kAlignment, static_cast<size_t>(block_bytes));
    if (block == nullptr) fail("storage", "cannot get {} bytes from the system", block_bytes);
    ++made;
    ++stats_.system_requests;
    stats_.pooled_bytes += block_bytes;
    return static_cast<std::byte*>(block);
  }

  std::mutex mutex_;
  std::map<int64_t, std::vector<std::byte*>> free_;
  std::map<int64_t, int64_t> blocks_made_;
  StorageStats stats_{};
};

class PooledStorage final : public Storage {
 public:
  explicit PooledStorage(int64_t bytes) {
    data_ = Pool::instance().take(bytes, block_bytes_);
    bytes_ = bytes;
    if (poison.load(std::memory_order_relaxed)) {
      std::memset(data_, 0xff, static_cast<size_t>(bytes));
    }
  }
  ~PooledStorage() override { Pool::instance().give_back(data_, block_bytes_); }

 private:
  int64_t block_bytes_ = 0;
};

}  // namespace

std::shared_ptr<Storage> pooled_storage(int64_t bytes) {
  if (bytes < 0) fail("storage", "got {} bytes, expected at least 0", bytes);
  return std::make_shared<PooledStorage>(bytes);
}

StorageStats storage_stats() {
  return Pool::instance().with_stats([](const StorageStats& stats) { return stats; });
}

void release_pooled_storage() { Pool::instance().release(); }

namespace testing {

void poison_storage(bool on) { poison.store(on); }

}  // namespace testing

namespace detail {

void count_growable_commit(int64_t bytes) {
  Pool::instance().with_stats([&](StorageStats& stats) {
    ++stats.system_requests;
    stats.growable_bytes += bytes;
  });
}

void count_growable_release(int64_t bytes) noexcept {
  Pool::instance().with_stats([&](StorageStats& stats) { stats.growable_bytes -= bytes; });
}

}  // namespace detail

}  // namespace offshoot
