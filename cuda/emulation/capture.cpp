#include "cuda/emulation/capture.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "cuda/emulation/runtime.h"
#include "cuda/error.h"

namespace offshoot::emulation {
namespace {

thread_local int current = 0;
thread_local std::vector<Work>* recorder = nullptr;
thread_local int recorded_device = 0;
thread_local bool running = false;

bool late_by_environment() {
  const char* late = std::getenv("OFFSHOOT_EMULATION_LATE");
  return late != nullptr && std::strcmp(late, "1") == 0;
}

// Of all streams, as kernels of all devices run on one engine.
struct Engine {
  std::mutex mutex;
  bool late = late_by_environment();

  static Engine& instance() {
    static Engine& engine = *new Engine;
    return engine;
  }
};

int device_of(cuda::Stream stream) { return stream == nullptr ? current : stream->device; }

}  // namespace

int current_device() { return current; }
void set_current_device(int device) { current = device; }

EmulatedStream& EmulatedStream::of(int device) {
  static auto& streams = *new std::array{EmulatedStream(0), EmulatedStream(1)};
  return streams[static_cast<size_t>(device)];
}

int64_t EmulatedStream::submit(Work work) {
  Engine& engine = Engine::instance();
  const std::lock_guard lock(engine.mutex);
  queue_.push_back(std::move(work));
  ++submitted_;
  if (!engine.late) run_queue();
  return submitted_;
}

void EmulatedStream::wait() {
  const std::lock_guard lock(Engine::instance().mutex);
  run_queue();
}

bool EmulatedStream::done(int64_t number) {
  const std::lock_guard lock(Engine::instance().mutex);
  return submitted_ - static_cast<int64_t>(queue_.size()) >= number;
}

int64_t EmulatedStream::submitted() {
  const std::lock_guard lock(Engine::instance().mutex);
  return submitted_;
}

void EmulatedStream::run_queue() {
  if (queue_.empty()) return;
  struct Running {
    explicit Running(int its_device) : device(its_device) {
      running = true;
      open_other_devices(device, false);
    }
    ~Running() {
      open_other_devices(device, true);
      running = false;
    }
    int device;
  } guard(device_);
  while (!queue_.empty()) {
    const Work work = std::move(queue_.front());
    queue_.pop_front();
    work();
  }
}

bool begin_capture(cuda::Stream stream, std::vector<Work>& into) {
  if (recorder != nullptr) return false;
  recorder = &into;
  recorded_device = device_of(stream);
  return true;
}

std::vector<Work>* end_capture() { return std::exchange(recorder, nullptr); }

bool capturing() { return recorder != nullptr; }

void submit_copy(cuda::Stream stream, Work work) {
  const int device = device_of(stream);
  if (running) {
    work();  // a launch inside a kernel: the engine refuses it
  } else if (capturing() && device == recorded_device) {
    recorder->push_back(std::move(work));
  } else {
    EmulatedStream::of(device).submit(std::move(work));
  }
}

void submit(cuda::Stream stream, Work work) {
  if (const int device = device_of(stream); device != current) {
    throw Error("[cuda] launch in the stream of device " + std::to_string(device) +
                ": got current device " + std::to_string(current) + ", expected the same");
  }
  submit_copy(stream, std::move(work));
}

void run_late(bool on) {
  for (int device = 0; device < kNumDevices; ++device) EmulatedStream::of(device).wait();
  Engine& engine = Engine::instance();
  const std::lock_guard lock(engine.mutex);
  engine.late = on;
}

}  // namespace offshoot::emulation
