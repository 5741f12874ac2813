#include "tools/support/terminal.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

namespace offshoot {

namespace {

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

Terminal::Terminal(std::FILE* stream) : descriptor_(fileno(stream)) {
  interactive_ = isatty(descriptor_) == 1 && environment("TERM") != "dumb";
  colour_ = interactive_ && environment("NO_COLOR").empty();
}

int Terminal::width() const {
  winsize size{};
  if (descriptor_ >= 0 && ioctl(descriptor_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return size.ws_col;
  }
  return width_;
}

std::string Terminal::styled(std::string_view code, std::string_view text) const {
  return colour_ ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

}  // namespace offshoot
