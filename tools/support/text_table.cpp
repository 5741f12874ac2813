#include "tools/support/text_table.h"

#include <algorithm>

#include "engine/error.h"
#include "tools/support/display.h"

namespace offshoot {
namespace {

constexpr int64_t kGap = 2;
constexpr int64_t kNarrowest = 12;

std::string spaces(int64_t count) { return std::string(static_cast<size_t>(count), ' '); }

}  // namespace

void TextTable::row(std::vector<std::string> cells, Weight weight) {
  OFFSHOOT_CHECK(cells.size() == columns_.size(), "{} cells", cells.size());
  rows_.push_back({std::move(cells), weight});
}

void TextTable::note(std::string text) {
  OFFSHOOT_CHECK(!rows_.empty(), "a note on no row");
  rows_.back().note = std::move(text);
}

std::string TextTable::render(const Terminal& terminal, int64_t indent, int64_t width) const {
  std::vector<int64_t> widths(columns_.size(), 0);
  for (const Row& row : rows_) {
    for (size_t c = 0; c < widths.size(); ++c) {
      widths[c] = std::max(widths[c], columns_of(row.cells[c]));
    }
  }
  bool titled = false;
  int64_t total = indent - kGap;
  for (size_t c = 0; c < widths.size(); ++c) {
    if (widths[c] == 0) continue;
    titled = titled || !columns_[c].title.empty();
    widths[c] = std::max(widths[c], columns_of(columns_[c].title));
    total += kGap + widths[c];
  }
  if (width > 0 && total > width) {
    widths[0] = std::max(std::min(kNarrowest, widths[0]), widths[0] - (total - width));
  }
  const auto line = [&](const auto& cell) {
    std::string text = spaces(indent);
    for (size_t c = 0; c < widths.size(); ++c) {
      if (widths[c] == 0) continue;
      const std::string content = c == 0 ? cut_middle(cell(c), widths[c]) : cell(c);
      text += columns_[c].align == Align::left ? pad_right(content, widths[c])
                                               : pad_left(content, widths[c]);
      text += spaces(kGap);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  };
  std::string text;
  if (titled) text = terminal.dim(line([&](size_t c) { return columns_[c].title; })) + '\n';
  for (const Row& row : rows_) {
    const std::string content = line([&](size_t c) { return row.cells[c]; });
    text += (row.weight == Weight::faint ? terminal.dim(content) : content) + '\n';
    if (row.note.empty()) continue;
    text += terminal.dim(width > 0 ? cut_end(row.note, width) : row.note) + '\n';
  }
  return text;
}

int64_t text_width(const Terminal& terminal) {
  return terminal.interactive() ? terminal.width() : 0;
}

std::string wrapped(const std::vector<std::string>& pieces, int64_t indent, int64_t width) {
  std::string text, line;
  for (const std::string& piece : pieces) {
    if (!line.empty() && indent + columns_of(line) + 3 + columns_of(piece) > width) {
      text += spaces(indent) + line + '\n';
      line.clear();
    }
    line += (line.empty() ? "" : "   ") + piece;
  }
  return line.empty() ? text : text + spaces(indent) + line + '\n';
}

}  // namespace offshoot
