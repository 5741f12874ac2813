#include "cuda/context.h"

#include <array>
#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/check.h"

namespace offshoot::cuda {
namespace {

constexpr std::array kOldestCapability = {8, 0};

std::atomic<int64_t> synchronizations{0};

struct Device {
  std::atomic<const DeviceProperties*> properties = nullptr;
  std::atomic<Stream> stream = nullptr;
};

// Never destroyed, nor are streams: tensors with static lifetime may outlive it.
struct Machine {
  std::string why_none;
  std::vector<Device> devices;
  std::mutex mutex;  // of who makes a device's members

  static Machine& instance() {
    static Machine& machine = *new Machine;
    return machine;
  }

 private:
  Machine() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
      cudaGetLastError();
      why_none = cudaGetErrorString(error);
      count = 0;
    } else if (count == 0) {
      why_none = cudaGetErrorString(cudaErrorNoDevice);
    }
    devices = std::vector<Device>(static_cast<size_t>(count));
  }
};

Device& at(int device) {
  Machine& machine = Machine::instance();
  const auto count = static_cast<int>(machine.devices.size());
  if (count == 0) throw Error("[cuda] there is no device: " + machine.why_none);
  if (device < 0 || device >= count) {
    throw Error("[cuda] device: got " + std::to_string(device) + ", expected 0.." +
                std::to_string(count - 1));
  }
  return machine.devices[static_cast<size_t>(device)];
}

const DeviceProperties& look_up(Device& its, int device) {
  const std::lock_guard lock(Machine::instance().mutex);
  if (its.properties == nullptr) {
    cudaDeviceProp found;
    OFFSHOOT_CUDA_CHECK(cudaGetDeviceProperties(&found, device));
    its.properties =
        new DeviceProperties{found.name, found.major, found.minor, found.multiProcessorCount,
                             static_cast<int64_t>(found.totalGlobalMem)};
  }
  return *its.properties;
}

// The device is current.
Stream make_stream(Device& its) {
  const std::lock_guard lock(Machine::instance().mutex);
  if (its.stream == nullptr) {
    cudaStream_t stream = nullptr;
    OFFSHOOT_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    its.stream = stream;
  }
  return its.stream;
}

}  // namespace

int device_count() noexcept { return static_cast<int>(Machine::instance().devices.size()); }

std::string why_no_device() { return Machine::instance().why_none; }

const DeviceProperties& properties(int device) {
  Device& its = at(device);
  const DeviceProperties* known = its.properties;
  const DeviceProperties& found = known != nullptr ? *known : look_up(its, device);
  if (std::array{found.major, found.minor} < kOldestCapability) {
    throw Error("[cuda] device " + std::to_string(device) + " (" + found.name +
                "): got compute capability " + std::to_string(found.major) + "." +
                std::to_string(found.minor) + ", expected at least 8.0");
  }
  return found;
}

Stream use(int device) {
  Device& its = at(device);
  const Stream stream = its.stream;
  if (stream == nullptr) properties(device);  // refuses old devices
  int current = -1;
  OFFSHOOT_CUDA_CHECK(cudaGetDevice(&current));
  if (current != device) OFFSHOOT_CUDA_CHECK(cudaSetDevice(device));
  return stream != nullptr ? stream : make_stream(its);
}

void synchronize(int device) {
  detail::refuse_capture("synchronize");
  const Stream stream = use(device);
  detail::count_synchronization();
  OFFSHOOT_CUDA_CHECK(cudaStreamSynchronize(stream));
}

Stats stats() { return {synchronizations}; }

Event::Event(int device) : device_(device) {
  use(device);
  OFFSHOOT_CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
}

Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

Event::Event(Event&& other) noexcept
    : device_(other.device_), event_(std::exchange(other.event_, nullptr)) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(event_, other.event_);
  return *this;
}

void Event::record() {
  detail::refuse_capture("Event::record");
  OFFSHOOT_CUDA_CHECK(cudaEventRecord(event_, use(device_)));
}

bool Event::done() const {
  detail::refuse_capture("Event::done");
  const cudaError_t state = cudaEventQuery(event_);
  if (state == cudaErrorNotReady) {
    cudaGetLastError();  // no error, but left behind as one
    return false;
  }
  OFFSHOOT_CUDA_CHECK(state);
  return true;
}

void Event::wait() const {
  if (done()) return;
  detail::count_synchronization();
  OFFSHOOT_CUDA_CHECK(cudaEventSynchronize(event_));
}

namespace detail {

bool& capturing() {
  static thread_local bool yes = false;
  return yes;
}

void refuse_capture(const char* what) {
  if (capturing()) throw Error("[cuda] " + std::string(what) + " while a graph is captured");
}

void count_synchronization() noexcept { ++synchronizations; }

}  // namespace detail

}  // namespace offshoot::cuda
