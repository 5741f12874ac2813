#include "engine/json.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/error.h"

namespace offshoot {

namespace {

constexpr size_t kMaxDepth = 200;

// layers[0].experts
std::string path_text(const Json::Step* first, const Json::Step* last) {
  std::string text;
  for (const Json::Step* step = first; step != last; ++step) {
    if (step->index >= 0) {
      text += fmt::format("[{}]", step->index);
    } else {
      text += fmt::format("{}{}", text.empty() ? "" : ".", step->key);
    }
  }
  return text.empty() ? "value" : text;
}

// A value as an error shows it: short, its kind in view.
std::string shown(const Json& json) {
  if (json.is_array() || json.is_object()) {
    return fmt::format("{} of {}", json.is_array() ? "an array" : "an object", json.size());
  }
  std::string text = json.dump(-1, Json::NonFinite::as_null);
  return text.size() <= 40 ? text : text.substr(0, 40) + "...";
}

[[noreturn]] void wrong_kind(std::initializer_list<Json::Step> steps, const Json& json,
                             std::string_view expected) {
  fail("json", "{}: got {}, expected {}", path_text(steps.begin(), steps.end()), shown(json),
       expected);
}

// The cause alone, of "[json.exception.parse_error.101] parse error at line 1, column 2: cause".
std::string cause(const std::exception& error) {
  std::string_view text = error.what();
  if (size_t end = text.find("] "); text.starts_with('[') && end != text.npos) {
    text.remove_prefix(end + 2);
  }
  constexpr std::string_view kPrefix = "parse error at ";
  if (text.starts_with(kPrefix)) text.remove_prefix(kPrefix.size());
  return std::string(text);
}

// Builds a Json from nlohmann's events, so that no second tree is made.
class Builder {
 public:
  explicit Builder(std::string_view where) : where_(where) {}

  Json take() { return std::move(root_); }

  bool null() { return add(Json()); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(int64_t value) { return add(value); }
  bool number_unsigned(uint64_t value) {
    if (!std::in_range<int64_t>(value)) fail(where_, "{}: integer beyond 64 bits", value);
    return add(value);
  }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(std::vector<uint8_t>&) { return false; }  // no text has it
  bool start_object(size_t) { return open(Json::object()); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& key) {
    if (open_.back()->contains(key)) fail(where_, "{}: the key stands twice", key);
    key_ = std::move(key);
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
    fail(where_, "{}", cause(error));
  }

 private:
  // The pointers in open_ stay valid: only the innermost container gains elements.
  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_object()) {
      Json& member = parent[key_];
      member = std::move(value);
      return &member;
    }
    parent.push_back(std::move(value));
    return const_cast<Json*>(&parent.elements().back());
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json container) {
    if (open_.size() == kMaxDepth) fail(where_, "nested deeper than {}", kMaxDepth);
    open_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view where_;
  Json root_;
  std::vector<Json*> open_;
  std::string key_;
};

std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception& error) {
    fail("json", "a string that is not UTF-8: {}", cause(error));
  }
}

class Writer {
 public:
  Writer(int indent, Json::NonFinite non_finite) : indent_(indent), non_finite_(non_finite) {}

  void write(const Json& json) {
    switch (json.kind()) {
      case Json::Kind::null:
        text += "null";
        return;
      case Json::Kind::boolean:
        text += json.get<bool>() ? "true" : "false";
        return;
      case Json::Kind::integer:
        text += fmt::format("{}", json.get<int64_t>());
        return;
      case Json::Kind::real:
        return write_real(json.get<double>());
      case Json::Kind::string:
        text += quoted(json.get<std::string>());
        return;
      case Json::Kind::array:
        return write_items('[', ']', json.elements(), [&](const Json& element) { write(element); });
      case Json::Kind::object:
        return write_items('{', '}', json.members(), [&](const Json::Member& member) {
          text += quoted(member.key);
          text += indent_ < 0 ? ":" : ": ";
          write(member.value);
        });
    }
  }

  std::string text;

 private:
  void write_real(double value) {
    if (std::isfinite(value)) {
      text += nlohmann::json(value).dump();
    } else if (non_finite_ == Json::NonFinite::as_null) {
      text += "null";
    } else {
      fail("json", "got {}, expected a finite number", value);
    }
  }
  template <class Items, class WriteItem>
  void write_items(char first, char last, const Items& items, WriteItem write_item) {
    text += first;
    ++depth_;
    bool comma = false;
    for (const auto& item : items) {
      if (comma) text += ',';
      comma = true;
      new_line();
      write_item(item);
    }
    --depth_;
    if (comma) new_line();
    text += last;
  }
  void new_line() {
    if (indent_ < 0) return;
    text += '\n';
    text.append(static_cast<size_t>(indent_ * depth_), ' ');
  }

  int indent_;
  Json::NonFinite non_finite_;
  int depth_ = 0;
};

}  // namespace

std::string_view to_string(Json::Kind kind) {
  constexpr std::string_view kNames[] = {"null",   "boolean", "integer", "real",
                                         "string", "array",   "object"};
  return kNames[static_cast<size_t>(kind)];
}

Json::Json(std::nullptr_t) : Json() {}
Json::Json(std::string value) : value_(std::move(value)) {}
Json::Json(std::string_view value) : value_(std::string(value)) {}
Json::Json(const char* value) : value_(std::string(value)) {}
Json::Json() = default;
Json::Json(const Json& other) = default;
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(const Json& other) = default;
Json& Json::operator=(Json&& other) noexcept = default;
Json::~Json() = default;

Json Json::array(std::initializer_list<Json> elements) {
  Json json;
  json.value_ = Array(elements);
  return json;
}

Json Json::object(std::initializer_list<std::pair<std::string_view, Json>> members) {
  Json json;
  json.value_ = Object();
  for (const auto& [key, value] : members) json[key] = value;
  return json;
}

Json Json::parse(std::string_view text, std::string_view where) {
  Builder builder(where);
  nlohmann::json::sax_parse(text, &builder);
  return builder.take();
}

Json Json::read_file(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    fail(path, "cannot be read as JSON: {}", errno ? std::strerror(errno) : "empty file");
  }
  return parse(text.str(), path);
}

std::string Json::dump(int indent, NonFinite non_finite) const {
  Writer writer(indent, non_finite);
  writer.write(*this);
  return std::move(writer.text);
}

int64_t Json::size() const {
  if (is_array()) return static_cast<int64_t>(elements().size());
  if (is_object()) return static_cast<int64_t>(members().size());
  return 0;
}

const Json::Array& Json::elements() const {
  if (!is_array()) wrong_kind({}, *this, "an array");
  return std::get<Array>(value_);
}

const Json::Object& Json::members() const {
  if (!is_object()) wrong_kind({}, *this, "an object");
  return std::get<Object>(value_);
}

Json& Json::operator[](std::string_view key) {
  if (is_null()) value_ = Object();
  if (!is_object()) wrong_kind({key}, *this, "an object");
  if (const Json* found = find(key)) return const_cast<Json&>(*found);
  return std::get<Object>(value_).emplace_back(Member{std::string(key), Json()}).value;
}

void Json::push_back(Json element) {
  if (is_null()) value_ = Array();
  if (!is_array()) wrong_kind({}, *this, "an array");
  std::get<Array>(value_).push_back(std::move(element));
}

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  const Object& object = std::get<Object>(value_);
  auto found = std::ranges::find(object, key, &Member::key);
  return found == object.end() ? nullptr : &found->value;
}

bool Json::operator==(const Json& other) const {
  if (kind() != other.kind()) return false;
  if (!is_object()) return value_ == other.value_;
  return size() == other.size() && std::ranges::all_of(members(), [&](const Member& member) {
           const Json* found = other.find(member.key);
           return found && *found == member.value;
         });
}

void Json::refuse_integer() { fail("json", "an integer beyond int64"); }

const Json& Json::descend(std::initializer_list<Step> steps) const {
  const Json* json = this;
  for (const Step* step = steps.begin(); step != steps.end(); ++step) {
    const Json* next = nullptr;
    if (step->index < 0) {
      next = json->find(step->key);
    } else if (json->is_array() && step->index < json->size()) {
      next = &json->elements()[static_cast<size_t>(step->index)];
    }
    if (!next) {
      fail("json", "{}: missing from {}", path_text(steps.begin(), step + 1), shown(*json));
    }
    json = next;
  }
  return *json;
}

void Json::read(std::initializer_list<Step> steps, bool& out) const {
  const Json& json = descend(steps);
  if (json.kind() != Kind::boolean) wrong_kind(steps, json, "true or false");
  out = std::get<bool>(json.value_);
}

void Json::read(std::initializer_list<Step> steps, int64_t& out) const {
  const Json& json = descend(steps);
  if (json.kind() != Kind::integer) wrong_kind(steps, json, "an integer");
  out = std::get<int64_t>(json.value_);
}

void Json::read(std::initializer_list<Step> steps, double& out) const {
  const Json& json = descend(steps);
  if (!json.is_number()) wrong_kind(steps, json, "a number");
  out = json.kind() == Kind::real ? std::get<double>(json.value_)
                                  : static_cast<double>(std::get<int64_t>(json.value_));
}

void Json::read(std::initializer_list<Step> steps, std::string& out) const {
  const Json& json = descend(steps);
  if (!json.is_string()) wrong_kind(steps, json, "a string");
  out = std::get<std::string>(json.value_);
}

}  // namespace offshoot
