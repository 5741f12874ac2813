// Copies between host and device, declared in cuda/memory.h: all of them through pinned memory,
// which alone is copied while the host goes on.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "cuda/check.h"
#include "cuda/context.h"
#include "cuda/memory.h"
#include "cuda/pinned_memory.h"

namespace offshoot::cuda {
namespace {

constexpr int64_t kPieceBytes = int64_t{4} << 20;

// Pinned memory that uploads take from in turn, round and round.
class UploadRing {
 public:
  explicit UploadRing(int device) : memory_(kRingBytes) {
    uploads_.reserve(kMaxUploads);
    while (uploads_.size() < kMaxUploads) uploads_.push_back({0, 0, Event(device)});
  }

  // Room for a piece that no upload under way reads; used once enqueued() says so.
  std::byte* take(int64_t bytes) {
    begin_ = end_ + bytes > kRingBytes ? 0 : end_;
    end_ = begin_ + bytes;
    while (under_way_ == kMaxUploads || taken()) {
      upload(0).event.wait();
      oldest_ = (oldest_ + 1) % kMaxUploads;
      --under_way_;
    }
    return memory_.data() + begin_;
  }

  // The copy of the piece last taken is in the stream.
  void enqueued() {
    Upload& newest = upload(under_way_);
    newest.begin = begin_;
    newest.end = end_;
    ++under_way_;
    newest.event.record();
  }

 private:
  static constexpr int64_t kRingBytes = 4 * kPieceBytes;
  static constexpr size_t kMaxUploads = 64;

  struct Upload {
    int64_t begin, end;
    Event event;
  };

  Upload& upload(size_t age) { return uploads_[(oldest_ + age) % kMaxUploads]; }

  bool taken() {
    for (size_t age = 0; age < under_way_; ++age) {
      if (upload(age).begin < end_ && begin_ < upload(age).end) return true;
    }
    return false;
  }

  PinnedMemory memory_;
  std::vector<Upload> uploads_;
  size_t oldest_ = 0, under_way_ = 0;
  int64_t begin_ = 0, end_ = 0;  // of the piece last taken
};

// Two pieces: one is copied on by the host while the other arrives.
struct DownloadPair {
  explicit DownloadPair(int device)
      : memory{PinnedMemory(kPieceBytes), PinnedMemory(kPieceBytes)},
        arrived{Event(device), Event(device)} {}

  std::array<PinnedMemory, 2> memory;
  std::array<Event, 2> arrived;
};

struct Transfers {
  std::mutex mutex;
  std::optional<UploadRing> uploads;
  std::optional<DownloadPair> downloads;
};

template <class PerDevice>
PerDevice& of_device(int device) {
  static auto& all = *new std::vector<PerDevice>(static_cast<size_t>(device_count()));
  return all[static_cast<size_t>(device)];
}

}  // namespace

void copy_to_device(void* to, const void* from, int64_t bytes, int device) {
  if (bytes <= 0) return;
  detail::refuse_capture("copy_to_device");
  const Stream stream = use(device);
  Transfers& its = of_device<Transfers>(device);
  const std::lock_guard lock(its.mutex);
  if (!its.uploads) its.uploads.emplace(device);
  for (int64_t offset = 0; offset < bytes; offset += kPieceBytes) {
    const int64_t piece_bytes = std::min(kPieceBytes, bytes - offset);
    const auto size = static_cast<size_t>(piece_bytes);
    std::byte* piece = its.uploads->take(piece_bytes);
    std::memcpy(piece, static_cast<const std::byte*>(from) + offset, size);
    OFFSHOOT_CUDA_CHECK(cudaMemcpyAsync(static_cast<std::byte*>(to) + offset, piece, size,
                                        cudaMemcpyHostToDevice, stream));
    its.uploads->enqueued();
  }
}

void copy_to_host(void* to, const void* from, int64_t bytes, int device) {
  if (bytes <= 0) return;
  detail::refuse_capture("copy_to_host");
  const Stream stream = use(device);
  Transfers& its = of_device<Transfers>(device);
  const std::lock_guard lock(its.mutex);
  if (!its.downloads) its.downloads.emplace(device);
  DownloadPair& pair = *its.downloads;
  detail::count_synchronization();

  const auto size = [&](int64_t piece) {
    return static_cast<size_t>(std::min(kPieceBytes, bytes - piece * kPieceBytes));
  };
  const auto request = [&](int64_t piece) {
    const auto which = static_cast<size_t>(piece % 2);
    OFFSHOOT_CUDA_CHECK(cudaMemcpyAsync(pair.memory[which].data(),
                                        static_cast<const std::byte*>(from) + piece * kPieceBytes,
                                        size(piece), cudaMemcpyDeviceToHost, stream));
    pair.arrived[which].record();
  };
  const int64_t pieces = (bytes + kPieceBytes - 1) / kPieceBytes;
  request(0);
  for (int64_t piece = 0; piece < pieces; ++piece) {
    if (piece + 1 < pieces) request(piece + 1);
    const auto which = static_cast<size_t>(piece % 2);
    OFFSHOOT_CUDA_CHECK(cudaEventSynchronize(pair.arrived[which].handle()));
    std::memcpy(static_cast<std::byte*>(to) + piece * kPieceBytes, pair.memory[which].data(),
                size(piece));
  }
}

struct HostCopy::Block {
  Block(int64_t bytes, int its_device) : memory(bytes), arrived(its_device), device(its_device) {}

  PinnedMemory memory;
  Event arrived;
  int device;
};

namespace {

// Blocks by the logarithm of their size. One may be given back while its copy is under way: the
// next user's copy comes after it in the stream, and the host only reads.
struct BlockCache {
  std::mutex mutex;
  struct Class {
    std::vector<HostCopy::Block*> free;
    size_t blocks = 0;  // free or not
  };
  std::array<Class, 64> classes;
};

constexpr int64_t kSmallestBlock = 256;

size_t class_of(int64_t bytes) {
  return static_cast<size_t>(std::bit_width(static_cast<uint64_t>(bytes - 1)));
}

}  // namespace

HostCopy::HostCopy(const void* from, int64_t bytes, int device) {
  detail::refuse_capture("HostCopy");
  const Stream stream = use(device);
  const size_t index = class_of(std::max(bytes, kSmallestBlock));
  {
    BlockCache& cache = of_device<BlockCache>(device);
    const std::lock_guard lock(cache.mutex);
    BlockCache::Class& its = cache.classes[index];
    if (its.free.empty()) {
      its.free.reserve(its.blocks + 1);  // so that giving back cannot fail
      block_.reset(new Block(int64_t{1} << index, device));
      ++its.blocks;
    } else {
      block_.reset(its.free.back());
      its.free.pop_back();
    }
  }
  if (bytes > 0) {
    OFFSHOOT_CUDA_CHECK(cudaMemcpyAsync(block_->memory.data(), from, static_cast<size_t>(bytes),
                                        cudaMemcpyDeviceToHost, stream));
  }
  block_->arrived.record();
}

const void* HostCopy::wait() {
  block_->arrived.wait();
  return block_->memory.data();
}

void HostCopy::GiveBack::operator()(Block* block) const noexcept {
  BlockCache& cache = of_device<BlockCache>(block->device);
  const std::lock_guard lock(cache.mutex);
  cache.classes[class_of(block->memory.bytes())].free.push_back(block);
}

}  // namespace offshoot::cuda
