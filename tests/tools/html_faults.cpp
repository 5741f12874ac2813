#include "tests/tools/html_faults.h"

#include <fmt/core.h>

#include <regex>
#include <set>
#include <vector>

namespace offshoot::testing {

std::string tag_faults(std::string_view page) {
  static const std::set<std::string_view> kVoid = {"meta", "link", "br", "img", "hr"};
  std::vector<std::string_view> open;
  for (size_t at = page.find('<'); at != std::string_view::npos; at = page.find('<', at)) {
    const size_t end = page.find('>', at);
    if (end == std::string_view::npos) return "a tag without an end";
    const std::string_view tag = page.substr(at + 1, end - at - 1);
    at = end;
    if (tag.empty() || tag.front() == '!' || tag.back() == '/') continue;
    const std::string_view name = tag.substr(0, tag.find_first_of(" \n"));
    if (name.front() != '/') {
      if (kVoid.count(name) == 0) open.push_back(name);
    } else if (open.empty() || open.back() != name.substr(1)) {
      return fmt::format("</{}> closes nothing", name.substr(1));
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : fmt::format("<{}> stays open", open.back());
}

bool holds(const std::string& page, std::string_view text) {
  return page.find(text) != std::string::npos;
}

bool holds_unfinite_number(const std::string& page) {
  return std::regex_search(page, std::regex("(^|[^A-Za-z])-?(nan|inf)([^A-Za-z]|$)"));
}

}  // namespace offshoot::testing
