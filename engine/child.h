// Work that may hang, crash or eat all memory, done in a child process.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace offshoot {

struct ChildLimits {
  std::chrono::milliseconds deadline;
  int64_t memory_bytes;  // beyond what this process has mapped already
};

struct ChildEnd {
  enum class Kind { returned, crashed, late };
  Kind kind;
  std::string text;  // returned: what work returned, else ""
  int signal = 0;    // crashed
};

// Forks, and returns when the child has ended, which it does by the deadline. `work` sees this
// process's memory, but not its other threads; what it prints to stderr is dropped. bad_alloc
// counts as crashed by signal 0. Throws Error when there can be no child.
ChildEnd run_in_child(const ChildLimits& limits, const std::function<std::string()>& work);

}  // namespace offshoot
