#include "tools/support/option.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

namespace offshoot {

namespace {

template <class T>
constexpr bool is_optional = false;
template <class T>
constexpr bool is_optional<std::optional<T>> = true;

// A number's text as Json, or a string where it is none; set() then refuses it.
Json number_of(std::string_view text, bool integer) {
  const char* end = text.data() + text.size();
  int64_t whole = 0;
  if (auto [last, error] = std::from_chars(text.data(), end, whole);
      last == end && error == std::errc()) {
    return whole;
  }
  double real = 0;
  if (auto [last, error] = std::from_chars(text.data(), end, real);
      !integer && last == end && error == std::errc() && std::isfinite(real)) {
    return real;
  }
  return text;
}

// What the user wrote, without the quotes of JSON.
std::string shown(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, Json::NonFinite::as_null);
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += separator;
    text += word;
  }
  return text;
}

}  // namespace

Option::Option(std::string flag, Target target, std::string help, std::string group)
    : flag_(std::move(flag)), target_(target), help_(std::move(help)), group_(std::move(group)) {}

Option& Option::at_least(double low) {
  low_ = low;
  low_open_ = false;
  return *this;
}

Option& Option::above(double low) {
  low_ = low;
  low_open_ = true;
  return *this;
}

Option& Option::at_most(double high) {
  high_ = high;
  high_open_ = false;
  return *this;
}

Option& Option::below(double high) {
  high_ = high;
  high_open_ = true;
  return *this;
}

Option& Option::choices(std::vector<std::string> values) {
  choices_ = std::move(values);
  return *this;
}

Option& Option::local() {
  local_ = true;
  return *this;
}

bool Option::is_integer() const {
  return std::holds_alternative<int64_t*>(target_) ||
         std::holds_alternative<std::optional<int64_t>*>(target_);
}

bool Option::is_real() const {
  return std::holds_alternative<double*>(target_) ||
         std::holds_alternative<std::optional<double>*>(target_);
}

std::string Option::key() const { return flag_.substr(flag_.starts_with("--") ? 2 : 0); }

std::string Option::expected() const {
  if (is_switch()) return "true or false";
  if (!choices_.empty()) return join(choices_, ", ");
  if (is_list()) return "an array of strings";
  if (!is_integer() && !is_real()) return "a string";
  std::string text = is_integer() ? "an integer" : "a number";
  if (std::isfinite(low_) && std::isfinite(high_)) {
    return fmt::format("{} in {}{}, {}{}", text, low_open_ ? '(' : '[', low_, high_,
                       high_open_ ? ')' : ']');
  }
  if (std::isfinite(low_)) text += fmt::format(" {} {}", low_open_ ? "above" : "of at least", low_);
  if (std::isfinite(high_)) {
    text += fmt::format(" {} {}", high_open_ ? "below" : "of at most", high_);
  }
  return text;
}

std::string Option::placeholder() const {
  if (is_switch()) return "";
  if (!choices_.empty()) return join(choices_, "|");
  return is_integer() ? "INT" : is_real() ? "NUMBER" : "TEXT";
}

void Option::set_texts(const std::vector<std::string>& texts, std::string_view where) {
  Json value;
  if (is_list()) {
    value = Json(texts);
  } else if (is_integer() || is_real()) {
    value = number_of(texts.back(), is_integer());
  } else if (is_switch()) {
    value = texts.back() == "true";
  } else {
    value = texts.back();
  }
  set(value, where, flag_);
  source_ = OptionSource::command_line;
}

void Option::set_json(const Json& value, std::string_view where, OptionSource source) {
  set(value, where, key());
  source_ = source;
}

// Checks all, then writes.
void Option::set(const Json& value, std::string_view where, std::string_view name) {
  auto refuse = [&] {
    throw UsageError(
        fmt::format("[{}] {}: got {}, expected {}", where, name, shown(value), expected()));
  };
  if (value.is_number()) {
    double number = value.get<double>();
    bool in_range = (low_open_ ? number > low_ : number >= low_) &&
                    (high_open_ ? number < high_ : number <= high_);
    if (!std::isfinite(number) || !in_range) refuse();
  }
  if (!choices_.empty() && value.is_string() &&
      std::ranges::find(choices_, value.get<std::string>()) == choices_.end()) {
    refuse();
  }
  std::visit(
      [&]<class T>(T* target) {
        if constexpr (is_optional<T>) {
          if (value.is_null()) {
            target->reset();
            return;
          }
        }
        try {
          if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            T list;
            for (const Json& element : value.elements()) {
              list.push_back(element.get<std::string>());
            }
            *target = std::move(list);
          } else if constexpr (is_optional<T>) {
            *target = value.get<typename T::value_type>();
          } else {
            *target = value.get<T>();
          }
        } catch (const Error&) {
          refuse();  // another kind: our words name the option and its limits
        }
      },
      target_);
}

Json Option::to_json() const {
  return std::visit(
      []<class T>(const T* target) -> Json {
        if constexpr (is_optional<T>) {
          return target->has_value() ? Json(**target) : Json();
        } else {
          return Json(*target);
        }
      },
      target_);
}

std::string Option::value_text() const {
  Json value = to_json();
  if (const auto* real = std::get_if<double*>(&target_)) return fmt::format("{}", **real);
  return value.is_null() || value.is_array() ? "" : shown(value);
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_edits = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    // Levenshtein's distance, row by row.
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 0; i < word.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i + 1);
      for (size_t j = 0; j < candidate.size(); ++j) {
        size_t substituted = diagonal + (word[i] == candidate[j] ? 0 : 1);
        diagonal = row[j + 1];
        row[j + 1] = std::min({substituted, row[j] + 1, diagonal + 1});
      }
    }
    if (row.back() < best_edits) {
      best_edits = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace offshoot
