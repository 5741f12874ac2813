// JSON (RFC 8259) values. An object keeps its members in the order in which they were added.
//
//   Json result = Json::object({{"method", "mass"}, {"experts", 4}});
//   result["layers"].push_back(Json::object({{"experts", 2}}));
//   int64_t experts = result.get<int64_t>("layers", 0, "experts");
//
// An integer stays an int64, so that seeds and counts keep every bit; a number with a fraction or
// an exponent is a double. Not thread-safe, as any value.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace offshoot {

class Json {
 public:
  enum class Kind { null, boolean, integer, real, string, array, object };
  struct Member;
  using Array = std::vector<Json>;
  using Object = std::vector<Member>;

  Json();  // null
  Json(std::nullptr_t);
  template <class T>
  requires std::integral<T> || std::floating_point<T> Json(T value);  // throws Error beyond int64
  Json(std::string value);
  Json(std::string_view value);
  Json(const char* value);
  template <class T>
  Json(const std::vector<T>& values);

  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(const Json& other);
  Json& operator=(Json&& other) noexcept;
  ~Json();

  static Json array(std::initializer_list<Json> elements = {});
  static Json object(std::initializer_list<std::pair<std::string_view, Json>> members = {});

  // `where` names the text in errors. Throws Error with line, column and cause; also for a key
  // that stands twice in an object, an integer beyond int64, and nesting deeper than 200.
  static Json parse(std::string_view text, std::string_view where = "json");
  static Json read_file(const std::string& path);

  // indent < 0: on one line. A double is written with the fewest digits that read back the same
  // bits. JSON has no NaN and no infinity: an Error, or null by NonFinite::as_null. Throws Error
  // for a string that is not UTF-8.
  enum class NonFinite { is_error, as_null };
  std::string dump(int indent = -1, NonFinite non_finite = NonFinite::is_error) const;

  Kind kind() const { return static_cast<Kind>(value_.index()); }
  bool is_null() const { return kind() == Kind::null; }
  bool is_number() const { return kind() == Kind::integer || kind() == Kind::real; }
  bool is_string() const { return kind() == Kind::string; }
  bool is_array() const { return kind() == Kind::array; }
  bool is_object() const { return kind() == Kind::object; }

  // Elements of an array, members of an object; 0 for all others.
  int64_t size() const;

  // All elements or members. Throws Error for another kind.
  const Array& elements() const;
  const Object& members() const;

  // The member, made as null when it is missing (which invalidates references to the others); null
  // itself becomes an object first. Throws Error for other kinds.
  Json& operator[](std::string_view key);

  // Appends to an array; null itself becomes an array first. Throws Error for other kinds.
  void push_back(Json element);

  // The member, or nullptr when there is none or this is no object.
  const Json* find(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }

  // One step down: a key or an index.
  struct Step {
    Step(std::string_view k) : key(k) {}
    Step(const std::string& k) : key(k) {}
    Step(const char* k) : key(k) {}
    template <std::integral T>
    Step(T i) : index(static_cast<int64_t>(i)) {}
    std::string_view key;
    int64_t index = -1;
  };

  // The value steps down from here: at("layers", 0, "experts"). Throws Error that names the path
  // as far as the first step that leads nowhere.
  template <class... Steps>
  const Json& at(const Steps&... steps) const {
    return descend({Step(steps)...});
  }

  // at(steps...) as bool, int64_t, double (an integer converts) or std::string.
  // Throws Error that names the path, what stands there and what was expected.
  template <class T, class... Steps>
  T get(const Steps&... steps) const {
    T out{};
    read({Step(steps)...}, out);
    return out;
  }

  // Same kind, same content, members in any order; 1 and 1.0 differ. NaN equals nothing.
  bool operator==(const Json& other) const;

 private:
  [[noreturn]] static void refuse_integer();
  const Json& descend(std::initializer_list<Step> steps) const;
  void read(std::initializer_list<Step> steps, bool& out) const;
  void read(std::initializer_list<Step> steps, int64_t& out) const;
  void read(std::initializer_list<Step> steps, double& out) const;
  void read(std::initializer_list<Step> steps, std::string& out) const;

  // In the order of Kind.
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

struct Json::Member {
  std::string key;
  Json value;
  bool operator==(const Member&) const = default;
};

// Here, where Member is complete: clang looks into its vectors at once.
template <class T>
requires std::integral<T> || std::floating_point<T> Json::Json(T value) {
  if constexpr (std::same_as<T, bool>) {
    value_ = value;
  } else if constexpr (std::integral<T>) {
    if (!std::in_range<int64_t>(value)) refuse_integer();
    value_ = static_cast<int64_t>(value);
  } else {
    value_ = static_cast<double>(value);
  }
}

template <class T>
Json::Json(const std::vector<T>& values) : value_(Array(values.begin(), values.end())) {}

std::string_view to_string(Json::Kind kind);

}  // namespace offshoot
