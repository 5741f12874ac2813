// Markup and numbers for pages made here: HTML and inline SVG written by one small builder that
// escapes every text and cannot leave a tag open.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace offshoot {

// & < > " ' become entities; control characters that HTML forbids become U+FFFD.
std::string escape_html(std::string_view text);

// Writes nested elements. Texts and attribute values are escaped; names are the caller's literals.
// A bug check fails when close() has nothing to close or take() finds an element open.
class Markup {
 public:
  using Attributes = std::initializer_list<std::pair<std::string_view, std::string>>;

  Markup& open(std::string_view tag, Attributes attributes = {});
  Markup& close();
  Markup& text(std::string_view content);
  // An element with only text in it; one without an end tag in HTML (meta, br), self-closed.
  Markup& element(std::string_view tag, Attributes attributes, std::string_view content);
  Markup& empty(std::string_view tag, Attributes attributes = {});
  // Finished markup, from another Markup or a literal; not escaped.
  Markup& raw(std::string_view markup);

  // The finished text; the builder is empty afterwards.
  std::string take();

 private:
  void start(std::string_view tag, Attributes attributes);

  std::string out_;
  std::vector<std::string> open_;
};

// What a page shows for a value that is missing or not finite.
inline constexpr std::string_view kMissing = "\u2013";

// Numbers as a reader wants them: a true minus sign, thousands parted by commas, and kMissing for
// a value that is not finite.
std::string number_text(double value, int decimals);
std::string count_text(double value);                 // 1234567 -> 1,234,567
std::string share_text(double share);                 // 0.1234 -> 12.3%
std::string probability_text(double value);           // 0.0042; below 0.001 3.1·10⁻⁵
std::string signed_text(double value, int decimals);  // with a plus sign too
std::string bytes_text(double bytes);                 // 1536 -> 1.5 KiB
std::string duration_text(double seconds);            // 75.2 -> 1 min 15 s
// A quantity the right size for an axis label: as many decimals as `step` between ticks needs.
std::string tick_text(double value, double step);

}  // namespace offshoot
