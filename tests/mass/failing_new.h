// Lack of memory injected into operator new, which this replaces in the program that links it.
#pragma once

#include <cstdint>

namespace offshoot::testing {

// While one lives, this thread's allocations fail after `successes` that do not.
class FailingNew {
 public:
  explicit FailingNew(int64_t successes);
  FailingNew(const FailingNew&) = delete;
  FailingNew& operator=(const FailingNew&) = delete;
  ~FailingNew();
};

}  // namespace offshoot::testing
