// What the emulated CUDA runtime and driver are made of, and what tests may ask of them.
//
// The backend's own host code (cuda/context.cpp, memory.cpp, ...) is the same with and without a
// device: under emulation it calls the functions of cuda_runtime.h and cuda.h that runtime.cpp and
// driver.cpp define here, on memory of the host. There are two devices, numbers 0 and 1.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "cuda/emulation/capture.h"

// CUDA declares it and leaves it to us.
struct CUstream_st {
  int device;
};

namespace offshoot::emulation {

inline constexpr int kNumDevices = 2;

// The calling thread's.
int current_device();
void set_current_device(int device);

// All streams of a device in one: work done in the order of its submission. It cannot touch memory
// of another device.
class EmulatedStream {
 public:
  static EmulatedStream& of(int device);

  // Returns the work's number, from 1.
  int64_t submit(Work work);
  void wait();
  bool done(int64_t number);
  int64_t submitted();

 private:
  explicit EmulatedStream(int device) : device_(device) {}
  void run_queue();

  int device_;
  std::deque<Work> queue_;
  int64_t submitted_ = 0;
};

// submit() for copies, which CUDA takes whatever device is current.
void submit_copy(cuda::Stream stream, Work work);

// Work that the calling thread submits to the stream goes into `into` instead. False if it captures
// already.
bool begin_capture(cuda::Stream stream, std::vector<Work>& into);
std::vector<Work>* end_capture();

// Of one device: as much as this machine has.
int64_t memory_bytes();
int64_t free_bytes(int device);

// Whether memory of other devices than this one may be touched.
void open_other_devices(int device, bool open);

// The driver's function of that name, or null.
void* driver_entry(const char* name);

// The next call of this function of the driver fails for lack of memory.
void fail_next(const char* driver_call);
// Memory that the driver has created and not got back.
int64_t living_allocations();

}  // namespace offshoot::emulation
