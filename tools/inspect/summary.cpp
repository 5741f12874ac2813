// A checkpoint at a glance, from names and shapes: what its parameters hold is not read.
#include <algorithm>
#include <map>
#include <span>

#include "engine/checkpoint.h"
#include "engine/error.h"
#include "engine/json.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/text_plot.h"
#include "tools/support/text_table.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

constexpr size_t kMostModules = 24;
constexpr size_t kMostOptions = 16;
constexpr int64_t kPipeWidth = 80;

std::string count_of(int64_t value) { return count_text(static_cast<double>(value)); }
std::string bytes_of(int64_t value) { return bytes_text(static_cast<double>(value)); }

constexpr std::string_view kSeparators = "./";

// "a.b.c" of "a.b.c.weight" with depth 3; the whole name when it has no more parts.
std::string prefix_of(const std::string& name, size_t depth) {
  size_t end = 0;
  for (size_t i = 0; i < depth; ++i) {
    end = name.find_first_of(kSeparators, end + (i > 0 ? 1 : 0));
    if (end == std::string::npos) return name;
  }
  return name.substr(0, end);
}

struct Module {
  std::string name;
  int64_t tensors = 0;
  int64_t parameters = 0;
  int64_t bytes = 0;
};

std::vector<Module> modules_at(const std::vector<ParameterInfo>& parameters, size_t depth) {
  std::vector<Module> modules;
  std::map<std::string, size_t> places;
  for (const ParameterInfo& parameter : parameters) {
    // The last part of a name is the tensor's own: "weight".
    const std::string owner = parameter.name.substr(0, parameter.name.find_last_of(kSeparators));
    const std::string name = prefix_of(owner, depth);
    const auto [place, is_new] = places.try_emplace(name, modules.size());
    if (is_new) modules.push_back({name});
    Module& module = modules[place->second];
    ++module.tensors;
    module.parameters += parameter.info.shape.size();
    module.bytes += parameter.bytes;
  }
  return modules;
}

// As deep as they fit a screen.
std::vector<Module> modules_of(const std::vector<ParameterInfo>& parameters) {
  std::vector<Module> modules = modules_at(parameters, 1);
  for (size_t depth = 2; depth < 16; ++depth) {
    std::vector<Module> deeper = modules_at(parameters, depth);
    if (deeper.size() > kMostModules) break;
    modules = std::move(deeper);
  }
  return modules;
}

// Lines of at most `width` columns, broken at spaces; a word that is longer has a line of its own.
std::vector<std::string> folded(std::string_view text, int64_t width) {
  std::vector<std::string> lines(1);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word(text.substr(at, end - at));
    if (!lines.back().empty() && columns_of(lines.back()) + 1 + columns_of(word) > width) {
      lines.emplace_back();
    }
    lines.back() += (lines.back().empty() ? "" : " ") + word;
    at = end + 1;
  }
  return lines;
}

std::string heading(const Terminal& terminal, std::string_view text) {
  return '\n' + terminal.bold(text) + '\n';
}

// Options that say what the model is; of a configuration without any of these, the first ones.
std::vector<std::string> options_of(const Json& configuration) {
  static const std::vector<std::string> kTelling{
      "model", "method", "preset",      "layers", "d-model", "heads", "hidden",   "experts",
      "topk",  "p",      "max-experts", "steps",  "batch",   "seq",   "precision"};
  std::vector<std::string> options, first;
  if (!configuration.is_object()) return {};
  const auto text = [](const std::string& key, const Json& value) {
    const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
    return displayable(key) + ' ' + cut_end(displayable(shown), 40);
  };
  for (const auto& [key, value] : configuration.members()) {
    if (value.is_null() || value.is_array() || value.is_object()) continue;
    if (std::ranges::find(kTelling, key) != kTelling.end()) options.push_back(text(key, value));
    if (first.size() < kMostOptions) first.push_back(text(key, value));
  }
  return options.empty() ? first : options;
}

std::string model_text(const CheckpointReader& file, const Terminal& terminal, int64_t width) {
  if (!file.h5().has("configuration")) return "";
  const Json configuration = Json::parse(read_configuration(file), file.path() + ": configuration");
  const std::vector<std::string> options = options_of(configuration);
  if (options.empty()) return "";
  return heading(terminal, "Configuration") + wrapped(options, 2, width);
}

std::string parameters_text(const H5Reader& h5, const Terminal& terminal, int64_t width) {
  const std::vector<ParameterInfo> parameters = model_parameters(h5);
  int64_t count = 0, bytes = 0;
  for (const ParameterInfo& parameter : parameters) {
    count += parameter.info.shape.size();
    bytes += parameter.bytes;
  }
  TextTable table(
      {{"module", TextTable::Align::left}, {"tensors"}, {"parameters"}, {"share"}, {"bytes"}});
  const std::vector<Module> modules = modules_of(parameters);
  for (const Module& module : std::span(modules).first(std::min(kMostModules, modules.size()))) {
    table.row({module.name.empty() ? "/" : displayable(module.name), count_of(module.tensors),
               count_of(module.parameters),
               share_text(static_cast<double>(module.parameters) / static_cast<double>(count)),
               bytes_of(module.bytes)});
  }
  if (modules.size() > kMostModules) {
    table.note(fmt::format("  … and {} more", modules.size() - kMostModules));
  }
  return heading(terminal, fmt::format("{} parameters in {} tensors, {}", count_of(count),
                                       count_of(std::ssize(parameters)), bytes_of(bytes))) +
         table.render(terminal, 2, width);
}

std::string layers_text(const H5Reader& h5, const Terminal& terminal, int64_t width) {
  TextTable table({{"layer", TextTable::Align::left}, {"experts"}, {"ever lived"}});
  for (const LayerExperts& layer : layers_of(h5)) {
    table.row({displayable(layer.name), count_of(layer.now), count_of(layer.ever)});
  }
  if (table.rows() == 0) return "";
  return heading(terminal, "Experts") + table.render(terminal, 2, width);
}

std::string losses_text(const H5Reader& h5, const Terminal& terminal) {
  const std::string fault = metrics_fault(h5);
  if (!fault.empty()) fail("inspect", "{}: {}", h5.path(), fault);
  const std::optional<TrainingLog> log = metrics_of(h5);
  if (!log || log->loss().empty()) return "";
  std::string text = heading(terminal, "Losses");
  text += fmt::format("  training  {}  (step {})\n", figure_text(log->loss().back(), 4),
                      count_of(log->steps()));
  if (!log->test_loss().empty()) {
    text += fmt::format("  test      {}  (step {})\n", figure_text(log->test_loss().back(), 4),
                        count_of(log->test_steps().back()));
  }
  return text;
}

std::string provenance_text(const H5Reader& h5, const Terminal& terminal, int64_t width) {
  const auto pairs = provenance_of(h5);
  if (pairs.empty()) return "";
  int64_t names = 0;
  for (const auto& [name, text] : pairs) names = std::max(names, columns_of(displayable(name)));
  std::string text = heading(terminal, "How it was made");
  for (const auto& [name, value] : pairs) {
    const std::string shown = displayable(value);
    const auto lines = width > 0 ? folded(shown, std::max<int64_t>(20, width - names - 4))
                                 : std::vector<std::string>{shown};
    for (size_t i = 0; i < lines.size(); ++i) {
      text +=
          fmt::format("  {}  {}\n", pad_right(i == 0 ? displayable(name) : "", names), lines[i]);
    }
  }
  return text;
}

}  // namespace

std::string show_summary(const CheckpointReader& file, int64_t file_bytes,
                         const Terminal& terminal) {
  const H5Reader& h5 = file.h5();
  const int64_t width = text_width(terminal);
  std::string text = fmt::format("{}  {}  {}\n", terminal.bold(displayable(file.path())),
                                 bytes_of(file_bytes), terminal.dim("not verified, see verify"));
  text += fmt::format("step {}   seed {}   format version {}\n", count_of(file.head().step),
                      file.head().seed, file.version());
  // One that is not to be read is no reason to keep the others back.
  const auto add = [&](std::string_view title, const auto& section) {
    try {
      text += section();
    } catch (const Error& error) {
      text += heading(terminal, title) +
              fmt::format("  not readable: {}\n", displayable(reason_of(error, file.path())));
    }
  };
  add("Configuration", [&] { return model_text(file, terminal, width > 0 ? width : kPipeWidth); });
  add("Parameters", [&] { return parameters_text(h5, terminal, width); });
  add("Experts", [&] { return layers_text(h5, terminal, width); });
  add("Losses", [&] { return losses_text(h5, terminal); });
  add("How it was made", [&] { return provenance_text(h5, terminal, width); });
  return text;
}

}  // namespace offshoot
