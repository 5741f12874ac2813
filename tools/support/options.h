// The options of a program, declared once: command line, configuration file, checkpoint, --help.
//
//   Options options("offshoot-hmm", "Trains a mixture of experts that grows on GINC.");
//   options.group("Model");
//   options.add("--experts", &config.experts, "experts of a layer at the start").at_least(1);
//   options.add("--method", &config.method, "routing").choices({"mass", "topk"});
//   if (!options.parse(argc, argv)) return 0;  // --help
//
// A variable's value at add() is its default. Every program has --help (-h) and --config FILE, a
// JSON object whose keys are flags without dashes; the command line overrides it. A switch (bool)
// is
// --x or --no-x. Every error is a UsageError of one line that names the flag or key, what was
// given and what was expected.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/json.h"
#include "tools/support/option.h"

namespace offshoot {

class Options {
 public:
  Options(std::string program, std::string description);

  // Heading in --help of the options added after it.
  void group(std::string title) { group_ = std::move(title); }

  // Binds `target`, which outlives this object, to a flag such as "--max-experts". A list of
  // strings has a name without dashes instead, and takes the arguments that are no flags; at most
  // one list. The reference stays valid.
  Option& add(std::string flag, Option::Target target, std::string help);

  // What --version prints; without it there is no such flag.
  void version(std::string text) { version_ = std::move(text); }

  // What --help says behind the program's name instead of "[OPTIONS] [LIST...]".
  void usage(std::string text) { usage_ = std::move(text); }

  // Sets the variables. Returns false after printing --help or --version to stdout. Throws
  // UsageError.
  bool parse(int argc, const char* const* argv);

  std::string help() const;

  // Takes every value that neither command line nor configuration file gave from `values`, an
  // earlier to_json(): what --resume inherits. Local options are left alone. `where` names the
  // source in errors. Throws UsageError for an unknown key or a bad value.
  void inherit(const Json& values, std::string_view where);

  // Values by key, in the order of declaration. `experiment` leaves local options out.
  enum class Which { experiment, all };
  Json to_json(Which which = Which::experiment) const;

  // Whether command line or configuration file gave the option. Throws Error for an unknown flag.
  bool given(std::string_view flag) const;
  OptionSource source(std::string_view flag) const { return find(flag).source(); }

  // Throws UsageError "[program] flag: text", for rules that span several options.
  [[noreturn]] void refuse(std::string_view flag, std::string_view text) const;

  const std::string& program() const { return program_; }

 private:
  const Option& find(std::string_view flag) const;
  Option* find_key(std::string_view key);
  void apply(const Json& values, std::string_view where, OptionSource source);
  [[noreturn]] void refuse_unknown(const std::string& argument) const;

  std::string program_;
  std::string description_;
  std::string usage_;
  std::string version_;
  std::string group_ = "Options";
  std::deque<Option> options_;
};

// Runs the body of main(): what it throws becomes one displayable line on stderr and exit status 2
// for a UsageError, 1 for anything else.
int run_program(const std::function<int()>& body);

}  // namespace offshoot
