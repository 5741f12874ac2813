#include "tools/support/display.h"

#include <fmt/core.h>

#include <algorithm>

#include "engine/utf8.h"

namespace offshoot {
namespace {

constexpr std::string_view kEllipsis = "\u2026";

bool begins_character(char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }

// Where the character numbered `count` begins.
size_t offset_of(std::string_view text, int64_t count) {
  size_t at = 0;
  for (; at < text.size(); ++at) {
    if (begins_character(text[at]) && count-- == 0) break;
  }
  return at;
}

}  // namespace

std::string displayable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto [code, bytes] = first_utf8(text);
    if (bytes == 0) {
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(text.front()));
    } else if (code == '\n') {
      out += "\\n";
    } else if (code == '\t') {
      out += "\\t";
    } else if (is_unsafe(code)) {
      out += code < 0x80 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{:04x}", code);
    } else {
      out += text.substr(0, bytes);
    }
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return out;
}

int64_t columns_of(std::string_view text) {
  return std::count_if(text.begin(), text.end(), begins_character);
}

std::string cut_end(std::string_view text, int64_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  if (columns < 1) return "";
  return std::string(text.substr(0, offset_of(text, columns - 1))).append(kEllipsis);
}

std::string cut_middle(std::string_view text, int64_t columns) {
  const int64_t all = columns_of(text);
  if (all <= columns) return std::string(text);
  if (columns < 1) return "";
  const int64_t behind = (columns - 1) / 2, before = columns - 1 - behind;
  return std::string(text.substr(0, offset_of(text, before)))
      .append(kEllipsis)
      .append(text.substr(offset_of(text, all - behind)));
}

std::string pad_right(std::string_view text, int64_t columns) {
  const int64_t missing = std::max<int64_t>(0, columns - columns_of(text));
  return std::string(text).append(static_cast<size_t>(missing), ' ');
}

std::string pad_left(std::string_view text, int64_t columns) {
  const int64_t missing = std::max<int64_t>(0, columns - columns_of(text));
  return std::string(static_cast<size_t>(missing), ' ').append(text);
}

}  // namespace offshoot
