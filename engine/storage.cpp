#include "engine/storage.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/context.h"
#include "cuda/memory.h"
#include "engine/address_space.h"
#include "engine/error.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace offshoot {
namespace {

#ifdef OFFSHOOT_POISON
std::atomic<bool> poison{true};
#else
std::atomic<bool> poison{false};
#endif

constexpr int64_t kSmallestBlock = 256;
// From here on all classes are multiples of 256 bytes, to which CUDA's libraries want theirs
// aligned.
constexpr int64_t kSmallestCudaBlock = 1024;
// What is asked of the system at once: at least this much, and as much again as is held, which on
// the CPU is address space whose pages come when they are touched, or a quarter of it on CUDA.
constexpr int64_t kSmallestRequest = 64 << 20;
// Memory never touched is used only until this many times the peak has been touched.
constexpr int64_t kTouchedPart = 2;

constexpr int64_t kSmallestReserve = int64_t{64} << 20;

constexpr int kMaxCudaDevices = 16;

int64_t memory_bytes(Device device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) return cuda::properties(device.index).memory_bytes;
  }
  return sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

// Whether AddressSanitizer watches over the device's memory: what was not asked for, or was given
// back, must not be touched, neither by the host nor by an emulated kernel.
bool watched([[maybe_unused]] Device device) {
#ifdef __SANITIZE_ADDRESS__
  return !device.is_cuda() || cuda::kEmulated;
#else
  return false;
#endif
}
void forbid([[maybe_unused]] std::byte* data, [[maybe_unused]] int64_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_poison_memory_region(data, static_cast<size_t>(bytes));
#endif
}
void allow([[maybe_unused]] std::byte* data, [[maybe_unused]] int64_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(data, static_cast<size_t>(bytes));
#endif
}

struct SizeClass {
  size_t index;
  int64_t bytes;
};

// Four classes an octave: at most a fifth of a block is wasted.
SizeClass size_class(int64_t bytes) {
  if (bytes <= kSmallestBlock) return {0, kSmallestBlock};
  const auto octave = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes - 1)));
  const int64_t step = octave / 4, steps = (bytes - octave + step - 1) / step;
  const auto octaves = std::countr_zero(static_cast<uint64_t>(octave / kSmallestBlock));
  return {static_cast<size_t>(4 * octaves + steps), octave + steps * step};
}

// Blocks by size class, cut from one stretch of address space that grows at its end. A block stays
// in its class until a class lacks blocks and much lies idle in others: then all free blocks are
// joined and cut anew. So a loop of constant shapes finds the blocks of its first pass, and one
// whose shapes vary does not keep the most that it ever used of every size. Never destroyed:
// tensors with static lifetime may outlive it.
class Pool {
 public:
  static Pool& of(Device device) {
    if (!device.is_cuda()) {
      static Pool& cpu = *new Pool(device);
      return cpu;
    }
    static std::mutex& mutex = *new std::mutex;
    static auto& pools = *new std::array<Pool*, kMaxCudaDevices>{};
    if (device.index < 0) fail("device", "got {}, expected an index from 0", to_string(device));
    const std::lock_guard lock(mutex);
    OFFSHOOT_CHECK(device.index < kMaxCudaDevices, "device {}", device.index);
    Pool*& pool = pools[static_cast<size_t>(device.index)];
    if (pool == nullptr) pool = new Pool(device);
    return *pool;
  }

  // A block of the size's class.
  std::byte* take(int64_t bytes) {
    if (bytes > space_->reserved_bytes()) fail_to_get(bytes);
    const SizeClass wanted = class_of(bytes);
    const std::lock_guard lock(mutex_);
    auto& free = classes_[wanted.index].free;
    std::byte* block = nullptr;
    if (free.empty()) {
      block = make(wanted);
    } else {
      block = free.back();
      free.pop_back();
    }
    stats_.pooled_bytes_in_use += wanted.bytes;
    stats_.pooled_bytes_peak = std::max(stats_.pooled_bytes_peak, stats_.pooled_bytes_in_use);
    if (watched(device_)) allow(block, bytes);
    return block;
  }

  void give_back(std::byte* block, int64_t bytes) noexcept {
    const SizeClass its = class_of(bytes);
    const std::lock_guard lock(mutex_);
    if (watched(device_)) forbid(block, its.bytes);
    stats_.pooled_bytes_in_use -= its.bytes;
    classes_[its.index].free.push_back(block);  // make() has reserved the room
  }

  void release() {
    const std::lock_guard lock(mutex_);
    join_free_blocks();
    space_->release_beyond(touched_bytes_);
    const int64_t kept = space_->committed_bytes();
    if (watched(device_)) allow(space_->data() + kept, stats_.pooled_bytes - kept);
    stats_.pooled_bytes = kept;
  }

  template <class F>
  auto with_stats(F&& f) {
    const std::lock_guard lock(mutex_);
    return f(stats_);
  }

 private:
  // Address space for all of the device's memory, or as much of it as a limit leaves.
  explicit Pool(Device device) : device_(device) {
    int64_t bytes = memory_bytes(device);
    while (true) {
      try {
        space_ = reserve_addresses(bytes, device, Backing::at_touch);
        return;
      } catch (const Error&) {
        if (bytes / 2 < kSmallestReserve) throw;
        bytes /= 2;
      }
    }
  }

  SizeClass class_of(int64_t bytes) const {
    return size_class(device_.is_cuda() ? std::max(bytes, kSmallestCudaBlock) : bytes);
  }

  [[noreturn]] void fail_to_get(int64_t bytes) const {
    fail("storage", "cannot get {} bytes on {} from the system", bytes, to_string(device_));
  }

  struct Class {
    std::vector<std::byte*> free;
    size_t blocks = 0;  // free or not
    int64_t bytes = 0;  // of one
  };
  struct Range {
    std::byte* data;
    int64_t bytes;
  };

  std::byte* make(const SizeClass& wanted) {
    // Room for the pointer in the free list is made now, so that giving back cannot fail.
    Class& its = classes_[wanted.index];
    its.bytes = wanted.bytes;
    if (its.free.capacity() <= its.blocks) its.free.reserve(2 * its.blocks + 8);
    std::byte* block = cut(wanted.bytes);
    const bool may_touch = touched_bytes_ + wanted.bytes <= kTouchedPart * stats_.pooled_bytes_peak;
    if (block == nullptr && may_touch) block = touch(wanted.bytes);
    if (block == nullptr) {
      join_free_blocks();
      block = cut(wanted.bytes);
    }
    if (block == nullptr) block = touch(wanted.bytes);
    if (block == nullptr) fail_to_get(wanted.bytes);
    ++its.blocks;
    return block;
  }

  // From the smallest range that is large enough, or null.
  std::byte* cut(int64_t bytes) {
    auto best = ranges_.end();
    for (auto range = ranges_.begin(); range != ranges_.end(); ++range) {
      if (range->bytes < bytes) continue;
      if (best == ranges_.end() || range->bytes < best->bytes) best = range;
    }
    if (best == ranges_.end()) return nullptr;
    std::byte* block = best->data;
    best->data += bytes;
    best->bytes -= bytes;
    if (best->bytes == 0) ranges_.erase(best);
    return block;
  }

  void join_free_blocks() {
    size_t count = ranges_.size();
    for (const Class& its : classes_) count += its.free.size();
    std::vector<Range> joined;
    ranges_.reserve(count);
    joined.reserve(count);
    for (Class& its : classes_) {
      for (std::byte* block : its.free) ranges_.push_back({block, its.bytes});
      its.blocks -= its.free.size();
      its.free.clear();
    }
    std::ranges::sort(ranges_, {}, &Range::data);
    for (const Range& range : ranges_) {
      const bool continues =
          !joined.empty() && joined.back().data + joined.back().bytes == range.data;
      if (continues) {
        joined.back().bytes += range.bytes;
      } else {
        joined.push_back(range);
      }
    }
    if (!joined.empty() &&
        joined.back().data + joined.back().bytes == space_->data() + touched_bytes_) {
      touched_bytes_ -= joined.back().bytes;
      joined.pop_back();
    }
    ranges_.swap(joined);
  }

  // From the end, asking the system where it is not far enough. Null where that has no more.
  std::byte* touch(int64_t bytes) {
    const int64_t lacking = touched_bytes_ + bytes - stats_.pooled_bytes;
    if (lacking > 0 && !request(std::max({lacking, spare_bytes(), kSmallestRequest})) &&
        !request(lacking)) {
      return nullptr;
    }
    std::byte* block = space_->data() + touched_bytes_;
    touched_bytes_ += bytes;
    return block;
  }

  // Asked for ahead of need. On the CPU that is addresses only, on CUDA memory.
  int64_t spare_bytes() const {
    return device_.is_cuda() ? stats_.pooled_bytes / 4 : stats_.pooled_bytes;
  }

  bool request(int64_t bytes) {
    const int64_t wanted = stats_.pooled_bytes + bytes;
    if (wanted > space_->reserved_bytes() || !space_->commit(wanted).empty()) return false;
    ++stats_.system_requests;
    const int64_t had = std::exchange(stats_.pooled_bytes, space_->committed_bytes());
    if (watched(device_)) forbid(space_->data() + had, stats_.pooled_bytes - had);
    return true;
  }

  std::mutex mutex_;
  std::array<Class, 256> classes_;
  std::vector<Range> ranges_;  // free and in no class
  int64_t touched_bytes_ = 0;  // blocks and ranges lie in these first bytes of the space
  Device device_;
  std::unique_ptr<AddressSpace> space_;
  StorageStats stats_{};
};

class PooledStorage final : public Storage {
 public:
  PooledStorage(int64_t bytes, Device device) : Storage(device) {
    data_ = Pool::of(device).take(bytes);
    bytes_ = bytes;
    if (poison.load(std::memory_order_relaxed)) fill_with_nan();
  }
  ~PooledStorage() override { Pool::of(device()).give_back(data_, bytes_); }

 private:
  void fill_with_nan() {
    if constexpr (kHasCuda) {
      if (device().is_cuda()) return cuda::fill_bytes(data_, 0xff, bytes_, device().index);
    }
    std::memset(data_, 0xff, static_cast<size_t>(bytes_));
  }
};

}  // namespace

std::shared_ptr<Storage> pooled_storage(int64_t bytes, Device device) {
  if (bytes < 0) fail("storage", "got {} bytes, expected at least 0", bytes);
  auto storage = std::make_shared<PooledStorage>(bytes, device);
  if constexpr (kHasCuda) {
    if (device.is_cuda() && cuda::detail::capturing()) cuda::detail::keep_for_graph(storage);
  }
  return storage;
}

StorageStats storage_stats(Device device) {
  return Pool::of(device).with_stats([](const StorageStats& stats) { return stats; });
}

void release_pooled_storage(Device device) { Pool::of(device).release(); }

namespace testing {

void poison_storage(bool on) { poison.store(on); }

}  // namespace testing

namespace detail {

void count_growable_commit(int64_t bytes, Device device) {
  Pool::of(device).with_stats([&](StorageStats& stats) {
    ++stats.system_requests;
    stats.growable_bytes += bytes;
  });
}

void count_growable_release(int64_t bytes, Device device) noexcept {
  Pool::of(device).with_stats([&](StorageStats& stats) { stats.growable_bytes -= bytes; });
}

}  // namespace detail

}  // namespace offshoot
