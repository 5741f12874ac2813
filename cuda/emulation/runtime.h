// What the emulated CUDA runtime and driver are made of, and what tests may ask of them.
//
// The backend's own host code (cuda/context.cpp, memory.cpp, ...) is the same with and without a
// device: under emulation it calls the functions of cuda_runtime.h and cuda.h that runtime.cpp and
// driver.cpp define here, on memory of the host. There is one device, number 0.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "cuda/emulation/capture.h"

namespace offshoot::emulation {

// All streams of the device in one: work done in the order of its submission.
class EmulatedStream {
 public:
  static EmulatedStream& instance();

  // Returns the work's number, from 1.
  int64_t submit(Work work);
  void wait();
  bool done(int64_t number);
  int64_t submitted();
  void run_late(bool on);

 private:
  explicit EmulatedStream(bool late) : late_(late) {}
  void run_queue();

  std::mutex mutex_;
  std::deque<Work> queue_;
  int64_t submitted_ = 0;
  bool late_;
};

// Work that the calling thread submits goes into `into` instead. False if it captures already.
bool begin_capture(std::vector<Work>& into);
std::vector<Work>* end_capture();

// Of the device, which is this machine.
int64_t memory_bytes();
int64_t free_bytes();

// The driver's function of that name, or null.
void* driver_entry(const char* name);

// The next call of this function of the driver fails for lack of memory.
void fail_next(const char* driver_call);
// Memory that the driver has created and not got back.
int64_t living_allocations();

}  // namespace offshoot::emulation
