// Every dataset of a checkpoint and what its values are like, read in pieces.
#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/statistics.h"
#include "tools/inspect/text_table.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

constexpr int64_t kPieceBytes = int64_t{4} << 20;
constexpr int64_t kOneLine = 120;  // columns that a line with everything needs
constexpr int kParts = 10;
constexpr int64_t kExcerpt = 48;

bool is_real(H5Type type) { return type == H5Type::f32 || type == H5Type::f64; }

std::string value_text(double value, bool real) {
  if (!std::isfinite(value)) return std::string(kMissing);
  // Whole numbers as they are, while a double holds each of them.
  if (!real && std::abs(value) < 1e15) return fmt::format("{:.0f}", value);
  return fmt::format("{:.3g}", value);
}

// Columns: norm, min, max, not finite, histogram or what else is to say.
struct Values {
  std::string norm, min, max, odd, picture;
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
  return '"' + cut_end(displayable(text.substr(0, 4 * kExcerpt)), kExcerpt) + '"';
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

// The group of "model/a.weight" is "model"; of the metrics, "metrics".
std::string top_group(const std::string& name) {
  const size_t slash = name.find('/');
  return slash == std::string::npos ? "" : name.substr(0, slash);
}

}  // namespace

std::string show_tree(const CheckpointReader& file, const Terminal& terminal) {
  const H5Reader& h5 = file.h5();
  const int64_t width = text_width(terminal);
  const bool one_line = width == 0 || width >= kOneLine;
  using Align = TextTable::Align;
  std::vector<TextTable::Column> columns{{"dataset", Align::left}, {"shape"}, {"type"}, {"bytes"}};
  const std::vector<TextTable::Column> more{
      {"norm"}, {"min"}, {"max"}, {"", Align::left}, {"values", Align::left}};
  if (one_line) columns.insert(columns.end(), more.begin(), more.end());
  TextTable table(columns);
  std::vector<std::string> names = h5.datasets();
  std::ranges::sort(names, natural_less);
  int64_t bytes = 0;
  std::string group;
  for (const std::string& name : names) {
    const std::string own_group = top_group(name);
    std::vector<std::string> blank(columns.size());
    if (own_group != group && !own_group.empty()) {
      blank[0] = displayable(own_group) + "/";
      table.row(blank);
    }
    group = own_group;
    const H5Info info = h5.info(name);
    const int64_t stored = h5.stored_bytes(name);
    bytes += stored;
    Values values;
    try {
      values = values_in(h5, name, info);
    } catch (const Error& error) {
      // Its own fault; the others go on to be of interest.
      values.odd = "damaged";
    }
    const std::string shown =
        group.empty() ? displayable(name) : "  " + displayable(name.substr(group.size() + 1));
    std::vector<std::string> cells{shown, to_string(info.shape), std::string(to_string(info.type)),
                                   bytes_text(static_cast<double>(stored))};
    if (info.type == H5Type::other) cells[2] = "other";
    if (one_line) {
      cells.insert(cells.end(), {values.norm, values.min, values.max, values.odd, values.picture});
      table.row(cells);
      continue;
    }
    table.row(cells);
    std::string second;
    if (!values.norm.empty()) {
      second = fmt::format("norm {}  {} .. {}  ", values.norm, values.min, values.max);
    }
    if (!values.odd.empty()) second += values.odd + "  ";
    second += values.picture;
    table.note("      " + second);
  }
  return table.render(terminal, 0, width) +
         fmt::format("\n{} datasets, {}\n", names.size(), bytes_text(static_cast<double>(bytes)));
}

}  // namespace offshoot
