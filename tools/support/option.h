// One option of a program: a flag bound to a variable, with its limits.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/error.h"
#include "engine/json.h"

namespace offshoot {

// What a user of a program did wrong: exit status 2 instead of 1.
class UsageError : public Error {
 public:
  using Error::Error;
};

// Where an option's value comes from; the later wins.
enum class OptionSource { standard, inherited, config_file, command_line };

class Option {
 public:
  using Target =
      std::variant<bool*, int64_t*, double*, std::string*, std::optional<int64_t>*,
                   std::optional<double>*, std::optional<std::string>*, std::vector<std::string>*>;

  Option(std::string flag, Target target, std::string help, std::string group);

  // Limits of a number; they combine: above(0).at_most(1) is (0, 1].
  Option& at_least(double low);
  Option& above(double low);
  Option& at_most(double high);
  Option& below(double high);

  // The values that a string may have.
  Option& choices(std::vector<std::string> values);

  // Belongs to this run of the program and not to the experiment (--out, --threads): it is neither
  // inherited from a checkpoint nor part of to_json().
  Option& local();

  // Set the variable, from the command line (the last text counts, but for a list) or from JSON.
  // Throw UsageError "[where] name: got A, expected B" and leave the variable as it was.
  void set_texts(const std::vector<std::string>& texts, std::string_view where);
  void set_json(const Json& value, std::string_view where, OptionSource source);

  Json to_json() const;             // an optional without a value is null
  std::string value_text() const;   // for --help; empty for an optional without a value
  std::string expected() const;     // "an integer in [1, 8]"
  std::string placeholder() const;  // INT, or one|other
  const std::string& flag() const { return flag_; }  // --max-experts; a positional has no dashes
  std::string key() const;                           // max-experts
  const std::string& help() const { return help_; }
  const std::string& group() const { return group_; }
  bool is_local() const { return local_; }
  bool is_switch() const { return std::holds_alternative<bool*>(target_); }
  bool is_list() const { return std::holds_alternative<std::vector<std::string>*>(target_); }
  OptionSource source() const { return source_; }

 private:
  bool is_integer() const;
  bool is_real() const;
  void set(const Json& value, std::string_view where, std::string_view name);

  std::string flag_;
  Target target_;
  std::string help_;
  std::string group_;
  double low_ = -std::numeric_limits<double>::infinity();
  double high_ = std::numeric_limits<double>::infinity();
  bool low_open_ = false;
  bool high_open_ = false;
  std::vector<std::string> choices_;
  bool local_ = false;
  OptionSource source_ = OptionSource::standard;
};

// The candidate with the fewest edits from `word`, or "" when all are far from it.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace offshoot
