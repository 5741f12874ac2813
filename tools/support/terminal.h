// What stands behind an output stream: a person's terminal, or a pipe or file.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace offshoot {

class Terminal {
 public:
  // Interactive when `stream` is a terminal that moves its cursor (TERM is not dumb). Colours are
  // off on a pipe and when NO_COLOR is set (no-color.org).
  explicit Terminal(std::FILE* stream);

  // For tests.
  Terminal(bool interactive, bool colour, int width)
      : interactive_(interactive), colour_(colour), width_(width) {}

  bool interactive() const { return interactive_; }
  bool colour() const { return colour_; }

  // Columns, asked anew on every call, as windows are resized; 80 when unknown.
  int width() const;

  // The text, in colour where there is any.
  std::string bold(std::string_view text) const { return styled("1", text); }
  std::string dim(std::string_view text) const { return styled("2", text); }
  std::string red(std::string_view text) const { return styled("31", text); }
  std::string green(std::string_view text) const { return styled("32", text); }
  std::string cyan(std::string_view text) const { return styled("36", text); }

 private:
  std::string styled(std::string_view code, std::string_view text) const;

  int descriptor_ = -1;
  bool interactive_ = false;
  bool colour_ = false;
  int width_ = 80;
};

}  // namespace offshoot
