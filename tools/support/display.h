// Text from anywhere on a terminal: nothing in it moves the cursor, and its width is known.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace offshoot {

// Control characters, marks that turn the direction of writing, and bytes that are no UTF-8 become
// what a C programmer would write: \n, \x1b, \u202e.
std::string displayable(std::string_view text);

// Columns that displayable UTF-8 takes, one a character.
int64_t columns_of(std::string_view text);

// At most `columns` of it; what is cut off leaves an ellipsis: at the end, or in the middle, where
// names differ least.
std::string cut_end(std::string_view text, int64_t columns);
std::string cut_middle(std::string_view text, int64_t columns);

// Filled with spaces to `columns`.
std::string pad_right(std::string_view text, int64_t columns);
std::string pad_left(std::string_view text, int64_t columns);

}  // namespace offshoot
