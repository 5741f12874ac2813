// Every dataset of a checkpoint and what its values are like, read in pieces.
#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/statistics.h"
#include "tools/support/text_table.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

constexpr int64_t kOneLine = 120;  // columns that a line with everything needs
constexpr int kParts = 10;
constexpr int64_t kExcerpt = 48;
constexpr int64_t kLeastExcerpt = 10;

bool is_real(H5Type type) { return type == H5Type::f32 || type == H5Type::f64; }

std::string value_text(double value, bool real) {
  if (!std::isfinite(value)) return std::string(kMissing);
  // Whole numbers as they are, while a double holds each of them.
  if (!real && std::abs(value) < 1e15) return fmt::format("{:.0f}", value);
  return fmt::format("{:.3g}", value);
}

// Columns: norm, min, max, not finite, histogram or what else is to say.
struct Values {
  std::string norm = {}, min = {}, max = {}, odd = {}, picture = {};
  std::string fault = {};  // why there are none of these
};

Values numbers_in(const H5Reader& h5, const std::string& name, H5Type type) {
  Statistics of;
  h5.each_piece(name, kPieceBytes,
                [&](int64_t, std::span<const std::byte> piece) { of.add(type, piece); });
  Values values;
  if (of.nans > 0) values.odd = fmt::format("{} NaN", of.nans);
  if (of.infinities > 0) {
    values.odd += fmt::format("{}{} inf", values.odd.empty() ? "" : ", ", of.infinities);
  }
  if (of.finite() == 0) return values;
  values.norm = value_text(of.norm(), true);
  values.min = value_text(of.min, is_real(type));
  values.max = value_text(of.max, is_real(type));
  if (of.count == 1) return values;
  Histogram histogram(of.min, of.max, kParts);
  h5.each_piece(name, kPieceBytes,
                [&](int64_t, std::span<const std::byte> piece) { histogram.add(type, piece); });
  values.picture = sparkline(histogram.counts());
  return values;
}

std::string excerpt(std::string_view text) {
  // A whole JSON text need not be made displayable to be cut.
  return '"' + displayable(text.substr(0, 4 * kExcerpt)) + '"';
}

Values values_in(const H5Reader& h5, const std::string& name, const H5Info& info) {
  Values values;
  switch (info.type) {
    case H5Type::text: {
      const std::vector<std::string> texts = h5.read_texts(name);
      if (!texts.empty()) values.picture = excerpt(texts.front());
      break;
    }
    case H5Type::table:
      for (const H5Column& column : h5.read_table(name)) {
        values.picture += (values.picture.empty() ? "" : ", ") + displayable(column.name);
      }
      break;
    case H5Type::other:
      break;
    default:
      values = numbers_in(h5, name, info.type);
  }
  return values;
}

// The group of "model/a.weight" is "model"; a dataset of the root has none.
std::string top_group(const std::string& name) {
  const size_t slash = name.find('/');
  return slash == std::string::npos ? "" : name.substr(0, slash);
}

// Its own fault: the other datasets go on to be of interest.
Values faulty(const H5Reader& h5, const std::string& name, const Error& error) {
  std::string reason = reason_of(error, h5.path());
  if (reason.starts_with(name + ": ")) reason.erase(0, name.size() + 2);
  constexpr std::string_view kDamaged = "is damaged: ";
  const bool damaged = reason.starts_with(kDamaged);
  if (damaged) reason.erase(0, kDamaged.size());
  return {.odd = damaged ? "damaged" : "not read", .fault = displayable(reason)};
}

using Align = TextTable::Align;

// Everything on one line where there is room, else values below their dataset.
class Tree {
 public:
  explicit Tree(int64_t width)
      : one_line_(width == 0 || width >= kOneLine),
        // Names come first, excerpts have the rest of a line.
        excerpt_(one_line_ && width > 0 ? std::max(kLeastExcerpt, width - kOneLine) : kExcerpt),
        table_(columns(one_line_)) {}

  void add(const H5Reader& h5, const std::string& name) {
    const std::string group = top_group(name);
    if (group != group_ && !group.empty()) add_row({displayable(group) + "/"});
    group_ = group;
    const std::string shown =
        group.empty() ? displayable(name) : "  " + displayable(name.substr(group.size() + 1));
    try {
      const H5Info info = h5.info(name);
      const int64_t stored = h5.stored_bytes(name);
      bytes_ += stored;
      std::vector<std::string> cells{shown, to_string(info.shape),
                                     std::string(to_string(info.type)),
                                     bytes_text(static_cast<double>(stored))};
      if (info.type == H5Type::other) cells[2] = "other";
      add_values(std::move(cells), values_of(h5, name, info));
    } catch (const Error& error) {
      add_values({shown, "", "", ""}, faulty(h5, name, error));
    }
  }

  int64_t bytes() const { return bytes_; }
  const TextTable& table() const { return table_; }

 private:
  static std::vector<TextTable::Column> columns(bool one_line) {
    std::vector<TextTable::Column> all{{"dataset", Align::left}, {"shape"}, {"type"}, {"bytes"}};
    if (one_line) {
      all.insert(all.end(),
                 {{"norm"}, {"min"}, {"max"}, {"", Align::left}, {"values", Align::left}});
    }
    return all;
  }

  static Values values_of(const H5Reader& h5, const std::string& name, const H5Info& info) {
    try {
      return values_in(h5, name, info);
    } catch (const Error& error) {
      return faulty(h5, name, error);
    }
  }

  void add_row(std::vector<std::string> cells) {
    cells.resize(columns(one_line_).size());
    table_.row(std::move(cells));
  }

  void add_values(std::vector<std::string> cells, Values values) {
    values.picture = cut_end(values.picture, excerpt_);
    if (one_line_) {
      cells.insert(cells.end(), {values.norm, values.min, values.max, values.odd, values.picture});
      add_row(std::move(cells));
      if (!values.fault.empty()) table_.note("      " + values.fault);
      return;
    }
    add_row(std::move(cells));
    std::string below = "      ";
    if (!values.norm.empty()) {
      below += fmt::format("norm {}  {} .. {}  ", values.norm, values.min, values.max);
    }
    if (!values.odd.empty()) below += values.odd + "  ";
    table_.note(below + values.picture + values.fault);
  }

  bool one_line_;
  int64_t excerpt_;
  std::string group_;
  int64_t bytes_ = 0;
  TextTable table_;
};

}  // namespace

std::string show_tree(const CheckpointReader& file, const Terminal& terminal) {
  const int64_t width = text_width(terminal);
  std::vector<std::string> names = file.h5().datasets();
  std::ranges::sort(names, natural_less);
  Tree tree(width);
  for (const std::string& name : names) tree.add(file.h5(), name);
  return tree.table().render(terminal, 0, width) +
         fmt::format("\n{} datasets, {}\n", names.size(),
                     bytes_text(static_cast<double>(tree.bytes())));
}

}  // namespace offshoot
