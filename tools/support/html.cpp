#include "tools/support/html.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr std::string_view kMinus = "\u2212";

std::string with_minus(std::string digits) {
  if (!digits.empty() && digits.front() == '-') {
    const bool zero = digits.find_first_of("123456789") == std::string::npos;
    digits.replace(0, 1, zero ? "" : kMinus);
  }
  return digits;
}

std::string superscript(int exponent) {
  static constexpr std::array<std::string_view, 10> kDigits = {"⁰", "¹", "²", "³", "⁴",
                                                               "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out = exponent < 0 ? "⁻" : "";
  for (const char digit : fmt::format("{}", std::abs(exponent))) {
    out += kDigits[static_cast<size_t>(digit - '0')];
  }
  return out;
}

bool ends_a_line(std::string_view tag) {
  static constexpr std::array<std::string_view, 9> kBlocks = {
      "tr", "p", "svg", "section", "figure", "header", "h1", "h2", "h3"};
  return std::find(kBlocks.begin(), kBlocks.end(), tag) != kBlocks.end();
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else if ((code < 0x20 && c != '\n' && c != '\t') || code == 0x7f) {
      out += "\ufffd";
    } else {
      out += c;
    }
  }
  return out;
}

void Markup::start(std::string_view tag, Attributes attributes) {
  out_ += '<';
  out_ += tag;
  for (const auto& [name, value] : attributes) {
    out_ += ' ';
    out_ += name;
    out_ += "=\"";
    out_ += escape_html(value);
    out_ += '"';
  }
}

Markup& Markup::open(std::string_view tag, Attributes attributes) {
  start(tag, attributes);
  out_ += '>';
  open_.emplace_back(tag);
  return *this;
}

Markup& Markup::close() {
  OFFSHOOT_CHECK(!open_.empty(), "close() with no element open after {} bytes", out_.size());
  out_ += "</" + open_.back() + ">";
  // Not after every element: a newline in a phrase would be a space on the page.
  if (ends_a_line(open_.back())) out_ += '\n';
  open_.pop_back();
  return *this;
}

Markup& Markup::text(std::string_view content) {
  out_ += escape_html(content);
  return *this;
}

Markup& Markup::element(std::string_view tag, Attributes attributes, std::string_view content) {
  return open(tag, attributes).text(content).close();
}

Markup& Markup::empty(std::string_view tag, Attributes attributes) {
  start(tag, attributes);
  out_ += "/>";
  return *this;
}

Markup& Markup::raw(std::string_view markup) {
  out_ += markup;
  return *this;
}

std::string Markup::take() {
  OFFSHOOT_CHECK(open_.empty(), "<{}> was never closed", open_.empty() ? "" : open_.back());
  return std::exchange(out_, {});
}

std::string number_text(double value, int decimals) {
  if (!std::isfinite(value)) return std::string(kMissing);
  return with_minus(fmt::format("{:.{}f}", value, decimals));
}

std::string signed_text(double value, int decimals) {
  std::string digits = number_text(value, decimals);
  const bool positive = std::isfinite(value) && value > 0;
  return positive ? "+" + digits : digits;
}

std::string count_text(double value) {
  if (!std::isfinite(value)) return std::string(kMissing);
  const std::string digits = fmt::format("{:.0f}", std::abs(value));
  std::string out = value <= -0.5 ? std::string(kMinus) : "";
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string share_text(double share) {
  return std::isfinite(share) ? number_text(100 * share, 1) + "%" : std::string(kMissing);
}

std::string probability_text(double value) {
  if (!std::isfinite(value)) return std::string(kMissing);
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size >= 0.001) return number_text(value, size >= 0.1 ? 3 : 4);
  int exponent = static_cast<int>(std::floor(std::log10(size)));
  double digits = value / std::pow(10.0, exponent);
  if (std::abs(digits) >= 9.95) {
    digits /= 10;
    ++exponent;
  }
  return number_text(digits, 1) + "·10" + superscript(exponent);
}

std::string bytes_text(double bytes) {
  if (!std::isfinite(bytes)) return std::string(kMissing);
  static constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{} {}", number_text(bytes, unit == 0 || bytes >= 100 ? 0 : 1), kUnits[unit]);
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds)) return std::string(kMissing);
  if (seconds < 60) return number_text(seconds, 1) + " s";
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string tick_text(double value, double step) {
  if (!std::isfinite(value)) return std::string(kMissing);
  if (step >= 1) return count_text(value);
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 9);
  return number_text(value, decimals);
}

}  // namespace offshoot
