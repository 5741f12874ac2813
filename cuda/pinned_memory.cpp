#include "cuda/pinned_memory.h"

#include <atomic>

#include "cuda/check.h"

namespace offshoot::cuda {
namespace {

std::atomic<int64_t> bytes_of_all{0};
std::atomic<int64_t> requests{0};

}  // namespace

PinnedMemory::PinnedMemory(int64_t bytes) : bytes_(bytes) {
  void* block = nullptr;
  OFFSHOOT_CUDA_CHECK(cudaHostAlloc(&block, static_cast<size_t>(bytes), cudaHostAllocPortable));
  data_ = static_cast<std::byte*>(block);
  bytes_of_all += bytes_;
  ++requests;
}

PinnedMemory::~PinnedMemory() {
  cudaFreeHost(data_);
  bytes_of_all -= bytes_;
}

PinnedStats pinned_stats() { return {bytes_of_all, requests}; }

}  // namespace offshoot::cuda
