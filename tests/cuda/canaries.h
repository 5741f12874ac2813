// Kernels that can be run with one defect planted, to see that the emulator catches it.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace offshoot::cuda {

// What may catch a defect: an order of threads that makes the result wrong or stops the kernel, or
// a sanitizer, in any order.
enum CaughtBy : unsigned {
  kForward = 1,
  kReverse = 2,
  kRandom = 4,  // by one seed of several
  kAnyOrder = kForward | kReverse | kRandom,
  kThreadSanitizer = 8,
  kAddressSanitizer = 16,
  kUndefinedSanitizer = 32,
};

struct Canary {
  std::string name;
  bool (*run)(bool planted);  // returns whether the kernel's result is right
  unsigned caught_by;
  std::string message;  // a part of what is said then; empty: maybe nothing

  friend std::ostream& operator<<(std::ostream& out, const Canary& canary) {
    return out << canary.name;
  }
};

std::vector<Canary> barrier_canaries();
std::vector<Canary> race_canaries();
std::vector<Canary> misuse_canaries();
std::vector<Canary> copy_canaries();

}  // namespace offshoot::cuda
