#include "tools/support/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <utility>

#include "tools/support/display.h"

namespace offshoot {

namespace {

// Options of the command line, each with its texts.
using Given = std::vector<std::pair<Option*, std::vector<std::string>>>;

void declare(CLI::App& app, Option& option, Given& given) {
  if (option.is_list()) return;  // positional: what the parser leaves over
  if (option.is_switch()) {
    app.add_flag_function(fmt::format("{0},!--no-{1}", option.flag(), option.key()),
                          [&given, &option](int64_t count) {
                            given.push_back({&option, {count > 0 ? "true" : "false"}});
                          });
  } else {
    app.add_option(option.flag(),
                   [&given, &option](const CLI::results_t& texts) {
                     given.push_back({&option, texts});
                     return true;
                   })
        ->type_name(option.placeholder())
        ->take_last();
  }
}

// One entry of --help in 80 columns; text that starts too far right gets lines of its own.
std::string help_line(const std::string& usage, const std::string& text) {
  constexpr size_t kColumn = 30, kWidth = 80;
  std::string line = "  " + usage, help;
  if (line.size() + 2 > kColumn) {
    help = line + '\n';
    line.clear();
  }
  line.resize(kColumn, ' ');
  for (size_t first = 0; first < text.size();) {
    size_t end = std::min(text.find(' ', first), text.size());
    if (line.size() + 1 + (end - first) > kWidth && line.size() > kColumn) {
      help += line + '\n';
      line.assign(kColumn, ' ');
    }
    if (line.size() > kColumn) line += ' ';
    line += text.substr(first, end - first);
    first = end + 1;
  }
  return help + line + '\n';
}

std::string help_line(const Option& option) {
  std::string usage = option.flag();
  if (option.is_switch()) usage = "--[no-]" + option.key();
  if (std::string type = option.placeholder(); !type.empty()) usage += ' ' + type;
  std::string value = option.value_text();
  return help_line(usage,
                   value.empty() ? option.help() : fmt::format("{} [{}]", option.help(), value));
}

}  // namespace

Options::Options(std::string program, std::string description)
    : program_(std::move(program)), description_(std::move(description)) {}

Option& Options::add(std::string flag, Option::Target target, std::string help) {
  std::string key = Option(flag, target, "", "").key();
  OFFSHOOT_CHECK(find_key(key) == nullptr, "{} is declared twice", flag);
  options_.emplace_back(std::move(flag), target, std::move(help), group_);
  Option& option = options_.back();
  OFFSHOOT_CHECK(option.is_list() != option.flag().starts_with("--"), "{}", option.flag());
  return option;
}

bool Options::parse(int argc, const char* const* argv) {
  CLI::App app(description_, program_);
  app.allow_extras();
  app.set_help_flag("-h,--help");
  if (!version_.empty()) app.set_version_flag("--version", version_);
  std::string config;
  app.add_option("--config", config)->type_name("FILE")->take_last();
  Given given;
  for (Option& option : options_) declare(app, option, given);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", help());
    return false;
  } catch (const CLI::CallForVersion&) {
    fmt::print("{}\n", version_);
    return false;
  } catch (const CLI::ParseError& error) {
    throw UsageError(fmt::format("[{}] {}", program_, error.what()));
  }
  std::vector<std::string> rest = app.remaining();
  auto list = std::ranges::find_if(options_, &Option::is_list);
  for (const std::string& argument : rest) {
    if (argument.starts_with("-") || list == options_.end()) refuse_unknown(argument);
  }
  if (!rest.empty()) given.push_back({&*list, rest});
  for (auto& [option, texts] : given) option->set_texts(texts, program_);
  if (!config.empty()) apply(Json::read_file(config), config, OptionSource::config_file);
  return true;
}

std::string Options::help() const {
  std::string usage = usage_;
  if (usage.empty()) {
    usage = "[OPTIONS]";
    auto list = std::ranges::find_if(options_, &Option::is_list);
    if (list != options_.end()) usage += fmt::format(" [{}...]", list->flag());
  }
  std::string text = fmt::format("{}\n\nUsage: {} {}\n", description_, program_, usage);
  std::vector<std::string> titles;
  for (const Option& option : options_) {
    if (std::ranges::find(titles, option.group()) == titles.end()) titles.push_back(option.group());
  }
  for (const std::string& title : titles) {
    text += fmt::format("\n{}:\n", title);
    for (const Option& option : options_) {
      if (option.group() == title) text += help_line(option);
    }
  }
  text += "\nGeneral:\n";
  text += help_line("--config FILE", "JSON object of options: its keys are flags without dashes");
  if (!version_.empty()) text += help_line("--version", "print versions and exit");
  return text + help_line("-h, --help", "print this and exit");
}

void Options::inherit(const Json& values, std::string_view where) {
  apply(values, where, OptionSource::inherited);
}

// A value from a higher source stays as it is.
void Options::apply(const Json& values, std::string_view where, OptionSource source) {
  if (!values.is_object()) {
    throw UsageError(fmt::format("[{}] expected a JSON object of options", where));
  }
  for (const auto& [key, value] : values.members()) {
    Option* option = find_key(key);
    if (!option) {
      std::vector<std::string> keys;
      for (const Option& known : options_) keys.push_back(known.key());
      std::string close = nearest(key, keys);
      throw UsageError(fmt::format("[{}] {}: unknown key{}{}", where, key,
                                   close.empty() ? "" : "; the nearest is ", close));
    }
    if (option->source() > source) continue;
    if (source == OptionSource::inherited && option->is_local()) continue;
    option->set_json(value, where, source);
  }
}

Json Options::to_json(Which which) const {
  Json json = Json::object();
  for (const Option& option : options_) {
    if (which == Which::all || !option.is_local()) json[option.key()] = option.to_json();
  }
  return json;
}

bool Options::given(std::string_view flag) const {
  return find(flag).source() >= OptionSource::config_file;
}

void Options::refuse(std::string_view flag, std::string_view text) const {
  throw UsageError(fmt::format("[{}] {}: {}", program_, flag, text));
}

void Options::refuse_unknown(const std::string& argument) const {
  if (!argument.starts_with("-")) {
    throw UsageError(fmt::format("[{}] {}: unexpected argument", program_, argument));
  }
  std::string flag = argument.substr(0, argument.find('='));
  std::vector<std::string> flags = {"--help", "--config"};
  if (!version_.empty()) flags.emplace_back("--version");
  for (const Option& known : options_) flags.push_back(known.flag());
  std::string close = nearest(flag, flags);
  throw UsageError(fmt::format("[{}] {}: unknown flag; {}{}", program_, flag,
                               close.empty() ? "see --help" : "the nearest is ", close));
}

const Option& Options::find(std::string_view flag) const {
  auto found = std::ranges::find(options_, flag, &Option::flag);
  OFFSHOOT_CHECK(found != options_.end(), "{} is not declared", flag);
  return *found;
}

Option* Options::find_key(std::string_view key) {
  auto found = std::ranges::find(options_, key, &Option::key);
  return found == options_.end() ? nullptr : &*found;
}

int run_program(const std::function<int()>& body) {
  try {
    return body();
  } catch (const UsageError& error) {
    fmt::print(stderr, "{}\n", displayable(error.what()));
    return 2;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "[memory] the machine has not enough for these sizes\n");
    return 1;
  } catch (const std::length_error&) {  // of a vector, before it asks for memory
    fmt::print(stderr, "[memory] no machine has enough for these sizes\n");
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", displayable(error.what()));
    return 1;
  }
}

}  // namespace offshoot
