// The functions of cuda_runtime.h that the backend calls.
#include "cuda/emulation/runtime.h"

#include <cuda_runtime.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

#include "cuda/emulation/capture.h"

using offshoot::emulation::EmulatedStream;
using offshoot::emulation::Work;

// CUDA declares these and leaves them to us. An event is a number: that of the last work before it.
struct CUevent_st {
  int device;
  int64_t after = 0;
};
struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  Work work;
};

namespace {

// Each thread's last error, as in CUDA.
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t give(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

// Blocks that copies to and from the host may touch, by address.
struct PinnedBlocks {
  std::mutex mutex;
  std::map<const char*, size_t> bytes;

  static PinnedBlocks& instance() {
    static PinnedBlocks& blocks = *new PinnedBlocks;
    return blocks;
  }

  bool contain(const void* first, size_t size) {
    const std::lock_guard lock(mutex);
    const auto address = static_cast<const char*>(first);
    auto block = bytes.upper_bound(address);
    if (block == bytes.begin()) return false;
    --block;
    return address + size <= block->first + block->second;
  }
};

thread_local bool capture_is_spoilt = false;

bool is_device(int device) { return device >= 0 && device < offshoot::emulation::kNumDevices; }

// A thread that captures may not wait, and has spoilt its capture.
cudaError_t wait_for_all(int device) {
  if (offshoot::emulation::capturing()) {
    capture_is_spoilt = true;
    return give(cudaErrorStreamCaptureUnsupported);
  }
  EmulatedStream::of(device).wait();
  return cudaSuccess;
}

}  // namespace

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorIllegalState:
      return "the operation cannot be performed in the present state";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    default:
      return "unknown error";
  }
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = offshoot::emulation::kNumDevices;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = offshoot::emulation::current_device();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (!is_device(device)) return give(cudaErrorInvalidDevice);
  offshoot::emulation::set_current_device(device);
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!is_device(device)) return give(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "emulated");
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 3;  // few and odd, so that kernels that loop do loop
  properties->totalGlobalMem = static_cast<size_t>(offshoot::emulation::memory_bytes());
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const int device = offshoot::emulation::current_device();
  *free = static_cast<size_t>(offshoot::emulation::free_bytes(device));
  *total = static_cast<size_t>(offshoot::emulation::memory_bytes());
  return cudaSuccess;
}

cudaError_t cudaFuncGetName(const char**, const void*) { return give(cudaErrorInvalidValue); }

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  *function = offshoot::emulation::driver_entry(name);
  *result = *function == nullptr ? cudaDriverEntryPointSymbolNotFound : cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st{offshoot::emulation::current_device()};
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return wait_for_all(stream->device); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st{offshoot::emulation::current_device()};
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (offshoot::emulation::capturing()) return give(cudaErrorStreamCaptureUnsupported);
  if (event->device != stream->device) return give(cudaErrorInvalidResourceHandle);
  event->after = EmulatedStream::of(event->device).submitted();
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const bool done = EmulatedStream::of(event->device).done(event->after);
  return done ? cudaSuccess : give(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) { return wait_for_all(event->device); }

cudaError_t cudaHostAlloc(void** block, size_t bytes, unsigned) {
  constexpr size_t kAlignment = 256;
  if (bytes > static_cast<size_t>(offshoot::emulation::memory_bytes())) {
    return give(cudaErrorMemoryAllocation);
  }
  *block = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (*block == nullptr) return give(cudaErrorMemoryAllocation);
  std::memset(*block, 0xff, bytes);
  PinnedBlocks& blocks = PinnedBlocks::instance();
  const std::lock_guard lock(blocks.mutex);
  blocks.bytes[static_cast<const char*>(*block)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* block) {
  PinnedBlocks& blocks = PinnedBlocks::instance();
  const std::lock_guard lock(blocks.mutex);
  if (blocks.bytes.erase(static_cast<const char*>(block)) == 0) return give(cudaErrorInvalidValue);
  std::free(block);
  return cudaSuccess;
}

// From or to memory that is not pinned CUDA would wait: nothing here should ask for that.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  PinnedBlocks& pinned = PinnedBlocks::instance();
  const bool good = kind == cudaMemcpyHostToDevice   ? pinned.contain(from, bytes)
                    : kind == cudaMemcpyDeviceToHost ? pinned.contain(to, bytes)
                                                     : kind == cudaMemcpyDeviceToDevice;
  if (!good) return give(cudaErrorInvalidValue);
  offshoot::emulation::submit_copy(stream, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  offshoot::emulation::submit_copy(stream, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  auto work = std::make_unique<std::vector<Work>>();
  if (!offshoot::emulation::begin_capture(stream, *work)) return give(cudaErrorIllegalState);
  work.release();
  capture_is_spoilt = false;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  const std::unique_ptr<std::vector<Work>> work(offshoot::emulation::end_capture());
  if (work == nullptr) return give(cudaErrorIllegalState);
  if (capture_is_spoilt) return give(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{std::move(*work)};
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new CUgraphExec_st{[all = std::make_shared<const std::vector<Work>>(graph->work)] {
    for (const Work& work : *all) work();
  }};
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  offshoot::emulation::submit(stream, executable->work);
  return cudaSuccess;
}
