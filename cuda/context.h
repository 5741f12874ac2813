// The devices of this machine, and the one stream of each.
//
// All work of a device goes through its stream, so what is issued first is done first, and memory
// given back by one launch's owner may be handed to the next without waiting.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cuda/stream.h"

struct CUevent_st;

namespace offshoot::cuda {

// Whether devices are emulated (cuda/emulation): their addresses are the host's then.
#ifdef OFFSHOOT_CUDA_EMULATION
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif

// 0 where there is no driver or no device. The answer is that of the first call.
int device_count() noexcept;
// CUDA's words on why device_count() is 0; "" where it is not.
std::string why_no_device();

struct DeviceProperties {
  std::string name;
  int major;  // compute capability
  int minor;
  int multiprocessors;
  int64_t memory_bytes;
};

// Throws Error when there is no such device, or when it is older than compute capability 8.0.
const DeviceProperties& properties(int device);

// Makes `device` the calling thread's current one and returns its stream, which lives until the
// program ends. Throws Error as properties() does.
Stream use(int device);

// Waits until all work given to the device so far is done.
void synchronize(int device);

struct Stats {
  // How often the host waited for a device.
  int64_t synchronizations;
};
Stats stats();

// A point in a device's stream.
class Event {
 public:
  explicit Event(int device);
  ~Event();
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;

  // The point is now: after all work given to the device so far.
  void record();
  // Has the device got there? True before the first record().
  bool done() const;
  // Waits for it. Counted as a synchronization where it was not done.
  void wait() const;

  CUevent_st* handle() const { return event_; }

 private:
  int device_;
  CUevent_st* event_ = nullptr;
};

namespace detail {
void count_synchronization() noexcept;
// Does the calling thread capture a graph? Set by Graph.
bool& capturing();
// While it does: memory that the graph will write to, kept until the graph dies.
void keep_for_graph(std::shared_ptr<void> memory);
// Throws Error if so: `what` cannot be part of one.
void refuse_capture(const char* what);
}  // namespace detail

}  // namespace offshoot::cuda
