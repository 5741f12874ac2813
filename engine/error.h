// Errors. What a user did wrong throws Error; what we did wrong fails a CHECK. Nothing is
// swallowed.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

#include "cuda/error.h"

namespace offshoot {

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
