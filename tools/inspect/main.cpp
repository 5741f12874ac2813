// offshoot-inspect: looks into a checkpoint.
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/checkpoint_file.h"
#include "engine/error.h"
#include "engine/file.h"
#include "tools/inspect/guard.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/options.h"
#include "tools/support/terminal.h"

namespace offshoot {
namespace {

// As of diff and cmp: 1 means "different" or "damaged".
constexpr int kTrouble = 2;

constexpr std::string_view kDescription =
    "Looks into a checkpoint. Views:\n"
    "  (none)         at a glance: model, parameters, experts, losses, provenance\n"
    "  configuration  what the run was made with, as JSON\n"
    "  tree           every dataset: shape, type, bytes, norm, range, histogram\n"
    "  lineage        each layer's experts under those that they came from\n"
    "  routing        which expert serves which label, of a finished run\n"
    "  metrics        loss and experts over the steps; --csv, --json: all of the log\n"
    "  diff           two files: what differs; exit status 0 equal, 1 different\n"
    "  verify         whether the file is whole and as it was written; exit status\n"
    "                 0 or 1\n"
    "  export         the model's parameters, --safetensors OUT\n"
    "  report         the page that training wrote, --html OUT; of a finished run\n"
    "Exit status 2: trouble. Only verify checks the hash of the whole file.";

struct Settings {
  std::vector<std::string> arguments;
  bool csv = false;
  bool json = false;
  std::optional<std::string> safetensors;
  std::optional<std::string> html;
  std::optional<int64_t> width;
};

struct Request {
  std::string view;  // empty: the summary
  std::vector<std::string> files;
};

const std::vector<std::string> kViews{"configuration", "tree",   "lineage", "routing", "metrics",
                                      "diff",          "verify", "export",  "report"};

bool is_view(const std::string& word) { return std::ranges::find(kViews, word) != kViews.end(); }

std::string views_text() {
  std::string text;
  for (const std::string& view : kViews) text += (text.empty() ? "" : ", ") + view;
  return text;
}

// "offshoot-inspect 0.1.0, reads checkpoints of format version 1".
std::string version_text() {
  std::string engine;
  for (const auto& [name, text] : provenance()) {
    if (name == "engine_version") engine = text;
  }
  return fmt::format("offshoot-inspect {}, reads checkpoints of format version {}", engine,
                     kCheckpointVersion == 1 ? "1" : fmt::format("1 to {}", kCheckpointVersion));
}

Request request_of(const Options& options, const Settings& settings) {
  const std::vector<std::string>& arguments = settings.arguments;
  if (arguments.empty()) options.refuse("FILE", "expected a checkpoint; see --help");
  Request request;
  // One name is a file's, even if it is a view's too.
  if (arguments.size() == 1) {
    std::error_code none;
    if (is_view(arguments.front()) && !std::filesystem::exists(arguments.front(), none)) {
      options.refuse("FILE", fmt::format("is missing: got the view {} alone, expected a checkpoint "
                                         "behind it",
                                         arguments.front()));
    }
    request.files = arguments;
  } else {
    request.view = arguments.front();
    request.files.assign(arguments.begin() + 1, arguments.end());
    if (!is_view(request.view)) {
      const std::string close = nearest(request.view, kViews);
      options.refuse("VIEW", fmt::format("got {}, expected one of {}{}", request.view, views_text(),
                                         close.empty() ? "; it stands before the file"
                                                       : "; the nearest is " + close));
    }
  }
  const size_t expected = request.view == "diff" ? 2 : 1;
  if (request.files.size() != expected) {
    options.refuse("FILE", fmt::format("got {} files, expected {}", request.files.size(),
                                       expected == 2 ? "two" : "one"));
  }
  const auto only_with = [&](const char* flag, bool given, const char* view, bool needed) {
    if (given && request.view != view) options.refuse(flag, fmt::format("is of {} only", view));
    if (!given && needed && request.view == view) options.refuse(flag, "expected a file to write");
  };
  only_with("--csv", settings.csv, "metrics", false);
  only_with("--json", settings.json, "metrics", false);
  only_with("--safetensors", settings.safetensors.has_value(), "export", true);
  only_with("--html", settings.html.has_value(), "report", true);
  if (settings.csv && settings.json) options.refuse("--csv", "got --json too, expected one");
  for (const auto* out : {&settings.safetensors, &settings.html}) {
    std::error_code none;
    if (*out && std::filesystem::equivalent(**out, request.files.front(), none)) {
      options.refuse(out == &settings.html ? "--html" : "--safetensors",
                     "got the checkpoint itself, expected another file");
    }
  }
  return request;
}

std::string text_of(const Request& request, const Settings& settings, const InputFile& input,
                    const Terminal& terminal) {
  const CheckpointReader file = CheckpointReader::unverified(input.duplicate());
  if (request.view == "configuration") return show_configuration(file, terminal);
  if (request.view == "tree") return show_tree(file, terminal);
  if (request.view == "lineage") return show_lineage(file, terminal);
  if (request.view == "routing") return show_routing(file, terminal);
  if (request.view == "export") return export_safetensors(file, *settings.safetensors);
  if (request.view == "report") return export_report(file, *settings.html);
  if (request.view == "metrics") {
    if (settings.csv) return metrics_csv(file);
    if (settings.json) return metrics_json(file);
    return show_metrics(file, terminal);
  }
  return show_summary(file, input.size(), terminal);
}

Outcome look(const Request& request, const Settings& settings, const Terminal& terminal) {
  const InputFile input(request.files.front());
  if (request.view == "verify") return verify_file(input, terminal);
  if (request.view == "diff") {
    const InputFile other(request.files.back());
    return run_guarded({&input, &other}, [&] {
      return show_diff(CheckpointReader::unverified(input.duplicate()),
                       CheckpointReader::unverified(other.duplicate()), terminal);
    });
  }
  return run_guarded(
      {&input},
      [&]() -> Outcome {
        return {0, text_of(request, settings, input, terminal)};
      },
      settings.safetensors ? settings.safetensors : settings.html);
}

int run(int argc, char** argv) {
  Settings settings;
  Options options("offshoot-inspect", std::string(kDescription));
  options.usage("[OPTIONS] [VIEW] FILE");
  options.version(version_text());
  options.add("file", &settings.arguments, "a view, and one checkpoint; two for diff");
  options.add("--csv", &settings.csv, "metrics: a table, one line a step");
  options.add("--json", &settings.json, "metrics: one JSON object a step, as in metrics.jsonl");
  options.add("--safetensors", &settings.safetensors, "export: the file to write");
  options.add("--html", &settings.html, "report: the file to write");
  options
      .add(
          "--width", &settings.width,
          "columns to fit everything to; without it the terminal's. In a pipe plots, heat maps and "
          "the configuration are 80 wide, tables as wide as what stands in them")
      .at_least(40)
      .at_most(1000);
  if (!options.parse(argc, argv)) return 0;
  const Request request = request_of(options, settings);
  Terminal terminal(stdout);
  if (settings.width) {
    terminal = Terminal(true, terminal.colour(), static_cast<int>(*settings.width));
  }
  const Outcome outcome = look(request, settings, terminal);
  const size_t written = std::fwrite(outcome.text.data(), 1, outcome.text.size(), stdout);
  if (written != outcome.text.size() || std::fflush(stdout) != 0) {
    fail("inspect", "standard output: {}", describe_errno(errno));
  }
  return outcome.status;
}

}  // namespace
}  // namespace offshoot

int main(int argc, char** argv) {
  try {
    return offshoot::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", offshoot::displayable(error.what()));
    return offshoot::kTrouble;
  }
}
