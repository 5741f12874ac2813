// Columns of text, as wide as what stands in them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/support/terminal.h"

namespace offshoot {

// Texts are displayable (tools/support/display.h).
class TextTable {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::right;
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One text a column; a faint row is dim where there are colours.
  enum class Weight { normal, faint };
  void row(std::vector<std::string> cells, Weight weight = Weight::normal);
  // A faint line of its own below the last row, in no column; cut to the width.
  void note(std::string text);
  int64_t rows() const { return static_cast<int64_t>(rows_.size()); }

  // Every line begins with `indent` spaces; columns stand two spaces apart; those without any text
  // are left out, the titles dim. When `width` > 0, the first column's texts are cut in their
  // middle so that lines fit, but not below 12 columns.
  std::string render(const Terminal& terminal, int64_t indent, int64_t width) const;

 private:
  std::vector<Column> columns_;
  struct Row {
    std::vector<std::string> cells;
    Weight weight;
    std::string note = {};
  };
  std::vector<Row> rows_;
};

// How wide text may be: as the terminal where there is one; 0, without end, in a pipe.
int64_t text_width(const Terminal& terminal);

// "name value" pairs, wrapped to lines of at most `width` columns that begin with `indent` spaces.
std::string wrapped(const std::vector<std::string>& pieces, int64_t indent, int64_t width);

}  // namespace offshoot
