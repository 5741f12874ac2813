#include "cuda/emulation/capture.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "cuda/emulation/runtime.h"

namespace offshoot::emulation {
namespace {

thread_local std::vector<Work>* recorder = nullptr;
thread_local bool running = false;

bool late_by_environment() {
  const char* late = std::getenv("OFFSHOOT_EMULATION_LATE");
  return late != nullptr && std::strcmp(late, "1") == 0;
}

}  // namespace

EmulatedStream& EmulatedStream::instance() {
  static EmulatedStream& stream = *new EmulatedStream(late_by_environment());
  return stream;
}

int64_t EmulatedStream::submit(Work work) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  ++submitted_;
  if (!late_) run_queue();
  return submitted_;
}

void EmulatedStream::wait() {
  const std::lock_guard lock(mutex_);
  run_queue();
}

bool EmulatedStream::done(int64_t number) {
  const std::lock_guard lock(mutex_);
  return submitted_ - static_cast<int64_t>(queue_.size()) >= number;
}

int64_t EmulatedStream::submitted() {
  const std::lock_guard lock(mutex_);
  return submitted_;
}

void EmulatedStream::run_late(bool on) {
  const std::lock_guard lock(mutex_);
  run_queue();
  late_ = on;
}

void EmulatedStream::run_queue() {
  struct Running {
    Running() { running = true; }
    ~Running() { running = false; }
  } guard;
  while (!queue_.empty()) {
    const Work work = std::move(queue_.front());
    queue_.pop_front();
    work();
  }
}

bool begin_capture(std::vector<Work>& into) {
  if (recorder != nullptr) return false;
  recorder = &into;
  return true;
}

std::vector<Work>* end_capture() { return std::exchange(recorder, nullptr); }

bool capturing() { return recorder != nullptr; }

void record(Work work) { recorder->push_back(std::move(work)); }

void submit(Work work) {
  if (running) {
    work();  // a launch inside a kernel: the engine refuses it
  } else if (capturing()) {
    record(std::move(work));
  } else {
    EmulatedStream::instance().submit(std::move(work));
  }
}

void run_late(bool on) { EmulatedStream::instance().run_late(on); }

}  // namespace offshoot::emulation
