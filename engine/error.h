// Errors. What a user did wrong throws Error; what we did wrong fails a CHECK. Nothing is
// swallowed.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string_view>
#include <utility>

namespace offshoot {

// Its text reads "[where] what: got A, expected B".
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... Args>
[[noreturn]] void fail(std::string_view where, fmt::format_string<Args...> text, Args&&... args) {
  throw Error(fmt::format("[{}] {}", where, fmt::format(text, std::forward<Args>(args)...)));
}

}  // namespace offshoot

// An invariant of this library, kept in release builds. A failure is a bug of ours.
#define OFFSHOOT_CHECK(condition, ...)                                                       \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      ::offshoot::fail("bug", "{}:{}: {} does not hold: {}", __FILE__, __LINE__, #condition, \
                       ::fmt::format(__VA_ARGS__));                                          \
    }                                                                                        \
  } while (false)
