// offshoot-hmm: the synthetic experiment, from the corpus to the report.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/parallel.h"
#include "tools/hmm/config.h"
#include "tools/hmm/run_checkpoint.h"
#include "tools/hmm/session.h"
#include "tools/hmm/study/command.h"

namespace offshoot {
namespace {

CommandLine command_line(int argc, char** argv) {
  CommandLine command{argv[0], argv[0]};
  for (int i = 1; i < argc; ++i) command.all += std::string(" ") + argv[i];
  return command;
}

[[noreturn]] void refuse_command(const std::string& word) {
  std::vector<std::string> commands{"findings"};
  for (const Study& study : studies()) commands.emplace_back(study.name);
  const std::string near = nearest(word, commands);
  throw UsageError(fmt::format("[offshoot-hmm] {}: unknown command{}; see --help", word,
                               near.empty() ? "" : fmt::format(", the nearest is {}", near)));
}

int run(int argc, char** argv) {
  if (argc > 1) {
    if (std::string_view(argv[1]) == "findings") return run_findings(argc - 1, argv + 1);
    if (const Study* study = find_study(argv[1])) {
      return run_study(*study, argc - 1, argv + 1, command_line(argc, argv).all);
    }
    if (argv[1][0] != '-') refuse_command(argv[1]);
  }
  HmmConfig config;
  HmmOptions options(config);
  if (!options.parse(argc, argv)) return 0;
  std::optional<CheckpointReader> checkpoint;
  if (config.resume) {
    checkpoint.emplace(*config.resume);
    options.inherit(run_configuration(*checkpoint), *config.resume);
    // Where the corpus was; its hash says whether it is still the same.
    if (!config.corpus && checkpoint->h5().has("provenance/corpus")) {
      config.corpus = checkpoint->h5().read_text("provenance/corpus");
    }
  }
  options.resolve();
  if (config.threads) set_num_threads(static_cast<int>(*config.threads));
  Session(config, options.to_json(), checkpoint ? &*checkpoint : nullptr, command_line(argc, argv))
      .run();
  return 0;
}

}  // namespace
}  // namespace offshoot

int main(int argc, char** argv) {
  return offshoot::run_program([&] { return offshoot::run(argc, argv); });
}
