#include "tools/support/display.h"

#include <fmt/core.h>

#include <algorithm>

namespace offshoot {
namespace {

constexpr std::string_view kEllipsis = "\u2026";

struct Character {
  uint32_t code = 0;
  size_t bytes = 0;  // 0: no UTF-8 here
};

// The first character of a text that is not empty (RFC 3629: shortest form, no surrogates).
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  uint32_t code = lead & (0xffu >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {code, bytes};
}

bool is_unsafe(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c ||
         (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
}

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
    const auto [code, bytes] = first_character(text);
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
