// What two checkpoints differ in, dataset by dataset, read in pieces side by side.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "engine/error.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/statistics.h"
#include "tools/support/text_table.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

std::string size_text(double value) {
  return std::isfinite(value) ? fmt::format("{:.3g}", value) : "not finite";
}

struct Difference {
  int64_t elements = 0;  // whose bits differ
  double largest = 0;    // |a - b|; NaN when one of the two is not finite
  double squares = 0;    // of a - b
  double squares_of_a = 0;

  void add(H5Type type, std::span<const std::byte> a, std::span<const std::byte> b) {
    with_numbers(type, a, [&]<class T>(std::span<const T> x) {
      const auto* y = reinterpret_cast<const T*>(b.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const auto from = static_cast<double>(x[i]), to = static_cast<double>(y[i]);
        squares_of_a += from * from;
        if (std::memcmp(&x[i], &y[i], sizeof(T)) == 0) continue;
        ++elements;
        const double size = std::abs(from - to);
        squares += size * size;
        if (!std::isfinite(size)) largest = kUnknown;
        if (size > largest) largest = size;  // never, once it is NaN
      }
    });
  }
  std::string relative_norm() const {
    if (squares == 0) return size_text(0);  // 0 and -0
    return squares_of_a == 0 ? "new" : size_text(std::sqrt(squares / squares_of_a));
  }
};

Difference numbers_differ(const H5Reader& a, const H5Reader& b, const std::string& name,
                          H5Type type) {
  Difference difference;
  H5Pieces from(a, name, kPieceBytes), to(b, name, kPieceBytes);
  for (;;) {
    const auto x = from.next(), y = to.next();
    if (x.empty()) return difference;
    if (std::memcmp(x.data(), y.data(), x.size()) != 0 || difference.elements > 0) {
      difference.add(type, x, y);
    } else {
      Statistics of;
      of.add(type, x);
      difference.squares_of_a += of.sum_of_squares;
    }
  }
}

// NaN, "not measured" in a table, equals itself.
bool same_tables(const std::vector<H5Column>& a, const std::vector<H5Column>& b) {
  return std::ranges::equal(a, b, [](const H5Column& x, const H5Column& y) {
    if (x.name != y.name || x.values.index() != y.values.index()) return false;
    return std::visit(
        [&]<class T>(const std::vector<T>& values) {
          const auto& others = std::get<std::vector<T>>(y.values);
          return values.size() == others.size() &&
                 (values.empty() ||
                  std::memcmp(values.data(), others.data(), values.size() * sizeof(T)) == 0);
        },
        x.values);
  });
}

std::string describe(const H5Info& info) {
  return fmt::format("{} {}", to_string(info.type), to_string(info.shape));
}

using Align = TextTable::Align;

class Differences {
 public:
  Differences(const H5Reader& a, const H5Reader& b) : a_(a), b_(b) {}

  void compare(const std::string& name) {
    const bool in_a = a_.has(name) && !a_.is_group(name);
    const bool in_b = b_.has(name) && !b_.is_group(name);
    if (!in_a || !in_b) {
      structure_.row({displayable(name), in_a ? "only in A" : "only in B",
                      describe((in_a ? a_ : b_).info(name))});
      return;
    }
    const H5Info x = a_.info(name), y = b_.info(name);
    if (x != y) {
      structure_.row({displayable(name), "other shape or type",
                      fmt::format("{} → {}", describe(x), describe(y))});
      return;
    }
    switch (x.type) {
      case H5Type::text:
        if (a_.read_texts(name) != b_.read_texts(name)) changed(name, "text");
        return;
      case H5Type::table:
        if (!same_tables(a_.read_table(name), b_.read_table(name))) changed(name, "table");
        return;
      case H5Type::other:
        structure_.row({displayable(name), "not compared", "a type that is not read"});
        return;
      default:
        break;
    }
    const Difference difference = numbers_differ(a_, b_, name, x.type);
    if (difference.elements == 0) return;
    const double share =
        static_cast<double>(difference.elements) / static_cast<double>(x.shape.size());
    values_.row({displayable(name), count_text(static_cast<double>(difference.elements)),
                 share_text(share), size_text(difference.largest), difference.relative_norm()});
  }

  // Attributes of the root: format, step, seed.
  void compare_attributes() {
    std::set<std::string> names;
    for (const H5Reader* file : {&a_, &b_}) {
      for (const std::string& name : file->attributes("/")) names.insert(name);
    }
    for (const std::string& name : names) {
      const auto value = [&](const H5Reader& file) {
        return file.has_attribute("/", name) ? displayable(file.attribute("/", name))
                                             : std::string(kMissing);
      };
      if (value(a_) == value(b_)) continue;
      structure_.row(
          {displayable(name), "attribute", fmt::format("{} → {}", value(a_), value(b_))});
    }
  }

  bool none() const { return structure_.rows() + values_.rows() == 0; }
  std::string text(const Terminal& terminal) const {
    const int64_t width = text_width(terminal);
    std::string text;
    if (structure_.rows() > 0) text += structure_.render(terminal, 0, width);
    if (structure_.rows() > 0 && values_.rows() > 0) text += '\n';
    if (values_.rows() > 0) text += values_.render(terminal, 0, width);
    return text;
  }

 private:
  void changed(const std::string& name, const char* what) {
    structure_.row({displayable(name), "changed", what});
  }

  const H5Reader& a_;
  const H5Reader& b_;
  TextTable structure_{{{"structure", Align::left}, {"", Align::left}, {"A → B", Align::left}}};
  TextTable values_{
      {{"values", Align::left}, {"changed"}, {"share"}, {"max abs"}, {"relative norm"}}};
};

}  // namespace

Outcome show_diff(const CheckpointReader& a, const CheckpointReader& b, const Terminal& terminal) {
  std::set<std::string> all;
  for (const CheckpointReader* file : {&a, &b}) {
    for (const std::string& name : file->h5().datasets()) {
      if (!name.starts_with("provenance/")) all.insert(name);
    }
  }
  std::vector<std::string> names(all.begin(), all.end());
  std::ranges::sort(names, natural_less);
  Differences differences(a.h5(), b.h5());
  differences.compare_attributes();
  for (const std::string& name : names) differences.compare(name);
  if (differences.none()) {
    return {0, fmt::format("equal: {} datasets, provenance left out\n", names.size())};
  }
  return {1, fmt::format("A {}\nB {}\n\n", displayable(a.path()), displayable(b.path())) +
                 differences.text(terminal)};
}

}  // namespace offshoot
