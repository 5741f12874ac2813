// UTF-8 from files and command lines, which may be none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace offshoot {

struct Utf8Character {
  uint32_t code = 0;
  size_t bytes = 0;  // 0: no UTF-8 here
};

// The first character of a text that is not empty (RFC 3629: shortest form, no surrogates).
Utf8Character first_utf8(std::string_view text);

// What a terminal obeys instead of showing: control characters (C0, DEL, C1), marks that turn the
// direction of what follows, and what has no width.
bool is_unsafe(uint32_t code);

}  // namespace offshoot
