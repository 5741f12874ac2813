// What is wrong with a page, as far as a test can read it.
#pragma once

#include <string>
#include <string_view>

namespace offshoot::testing {

// Reads tags one after the other: what is wrong with their nesting, or nothing.
std::string tag_faults(std::string_view page);

bool holds(const std::string& page, std::string_view text);

// "nan" or "inf" standing alone, as a printed number would; not as part of a word.
bool holds_unfinite_number(const std::string& page);

}  // namespace offshoot::testing
