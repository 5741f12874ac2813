#include "tools/hmm/study/command.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "engine/checkpoint.h"
#include "engine/error.h"
#include "engine/file.h"
#include "engine/module.h"
#include "engine/parallel.h"
#include "tools/hmm/output_folder.h"
#include "tools/hmm/study/page.h"
#include "tools/hmm/study/runner.h"
#include "tools/hmm/study/tables.h"
#include "tools/support/interrupt.h"
#include "tools/support/options.h"

namespace offshoot {
namespace {

constexpr int64_t kQuickSteps = 40, kQuickSeeds = 2;
constexpr int kInterrupted = 130;  // what a shell says of a program that SIGINT ended

struct StudyFlags {
  std::optional<int64_t> seeds;
  std::optional<int64_t> steps;
  std::optional<int64_t> jobs;
  std::string out;
  std::string only = "*";
  std::string flags;
  bool quick = false;
};

class StudyCommand {
 public:
  StudyCommand(const Study& study, std::string command)
      : study_(study), command_(std::move(command)), processors_(num_threads()) {
    flags_.out = fmt::format("out/hmm-{}", study.name);
  }

  bool parse(int argc, const char* const* argv) {
    Options options(
        fmt::format("offshoot-hmm {}", study_.name),
        fmt::format("{}{} {}", study_.title,
                    std::string_view(study_.title).ends_with('?') ? "" : ".", study_.question));
    options.add("--seeds", &flags_.seeds, fmt::format("runs of a cell [{}]", study_.seeds))
        .at_least(1);
    options.add("--steps", &flags_.steps, fmt::format("training steps a run [{}]", study_.steps))
        .at_least(3);
    options
        .add("--jobs", &flags_.jobs,
             study_.alone ? "runs side by side [1, as times are measured]"
                          : "runs side by side, each on one processor [all processors]")
        .at_least(1)
        .at_most(4096);
    options.add("--only", &flags_.only,
                "cells to run: a name, in which * stands for anything; --only list names them");
    options.add("--flags", &flags_.flags,
                "flags of offshoot-hmm for every run, as one text: \"--documents 50\"");
    options.add("--out", &flags_.out, "folder of all results, also of what is not finished");
    options.add("--quick", &flags_.quick,
                "a tiny model for a few steps, to see that all works; its figures mean nothing");
    if (!options.parse(argc, argv)) return false;
    settings_.quick = flags_.quick;
    settings_.seeds = flags_.seeds.value_or(flags_.quick ? kQuickSeeds : study_.seeds);
    settings_.steps = flags_.steps.value_or(flags_.quick ? kQuickSteps : study_.steps);
    settings_.flags = Flags::parse(flags_.flags);
    for (const char* flag : {"--seed", "--steps", "--test-every", "--config", "--out", "--resume",
                             "--stop-at", "--save-every", "--keep", "--best", "--threads",
                             "--device", "--verbose", "--prompts", "--save-corpus"}) {
      if (settings_.flags.find(flag) == nullptr) continue;
      throw UsageError(
          fmt::format("[{}] --flags: got {}, expected flags of the experiment: the study itself "
                      "says how it is run",
                      options.program(), flag));
    }
    return true;
  }

  int run() {
    const InterruptGuard guard;
    set_num_threads(1);  // no thread may live where processes are forked
    const std::vector<CellPlan> first = chosen(study_.plan(settings_));
    if (first.empty()) {
      std::string names;
      for (const CellPlan& plan : study_.plan(settings_)) names += " " + plan.cell.name;
      throw UsageError(fmt::format("[offshoot-hmm {}] --only: got {}, expected one of{}",
                                   study_.name, flags_.only, names));
    }
    const OutputFolder out(flags_.out);
    check_folder(out.path("results.json"), first.size());
    say_what_comes(first);
    StudyResults results = empty_results();
    try {
      train(first, out, results);
    } catch (const Runner::Interrupted&) {
      fmt::print("Interrupted. The same command goes on where it was.\n");
      return kInterrupted;
    }
    study_.finish(settings_, results);
    estimate_all(results);
    write_file(out.path("results.json"), to_json(results).dump(1, Json::NonFinite::as_null) + '\n');
    write_file(out.path("page.html"), study_page(results));
    fmt::print("\n{}\n{}/: page.html, results.json\n", study_table(results, Terminal(stdout)),
               out.folder());
    return 0;
  }

 private:
  std::vector<CellPlan> chosen(std::vector<CellPlan> plans) const {
    std::erase_if(plans,
                  [&](const CellPlan& plan) { return !matches(plan.cell.name, flags_.only); });
    for (const CellPlan& plan : plans) {
      if (plan.refused.empty()) continue;
      throw UsageError(
          fmt::format("[offshoot-hmm {}] --flags: got {}, which cell {} sets itself; "
                      "--only leaves cells out",
                      study_.name, plan.refused, plan.cell.name));
    }
    return plans;
  }

  // Another study's results are not this one's to replace.
  void check_folder(const std::string& file, size_t cells) const {
    if (!std::filesystem::exists(file)) return;
    const Json there = Json::read_file(file);
    const Json* name = there.find("study");
    if (name == nullptr || *name != Json(study_.name)) {
      throw UsageError(
          fmt::format("[offshoot-hmm {}] --out: got {}, which has the results of {}, "
                      "expected a folder of its own",
                      study_.name, flags_.out, name == nullptr ? "something else" : name->dump()));
    }
    if (const Json* before = there.find("cells");
        before != nullptr && before->size() > static_cast<int64_t>(cells)) {
      fmt::print("{} has {} cells; these {} will take their place\n", file, before->size(), cells);
    }
  }

  int jobs() const {
    if (flags_.jobs) return static_cast<int>(*flags_.jobs);
    return study_.alone ? 1 : processors_;
  }

  void say_what_comes(const std::vector<CellPlan>& plans) const {
    fmt::print("{}: {} cells, {} seed{} each, {} steps a run; {} run{} at a time\n", study_.title,
               plans.size(), settings_.seeds, settings_.seeds == 1 ? "" : "s", settings_.steps,
               jobs(), jobs() == 1 ? "" : "s");
    std::fflush(stdout);
  }

  StudyResults empty_results() const {
    StudyResults results;
    results.study = study_.name;
    results.title = study_.title;
    results.question = study_.question;
    // As it would be called anywhere: the folder of the program is this machine's.
    results.command = command_.substr(command_.rfind('/', command_.find(' ')) + 1);
    results.engine_version = engine_version();
    results.steps = settings_.steps;
    results.quick = settings_.quick;
    for (int64_t seed = 0; seed < settings_.seeds; ++seed) results.seeds.push_back(seed);
    return results;
  }

  void train(const std::vector<CellPlan>& first, const OutputFolder& out, StudyResults& results) {
    wave(first, out, results);
    if (study_.then == nullptr) return;
    const std::vector<CellPlan> second = chosen(study_.then(settings_, results));
    if (!second.empty()) wave(second, out, results);
  }

  void wave(const std::vector<CellPlan>& plans, const OutputFolder& out, StudyResults& results) {
    Runner runner({study_.alone ? "" : out.path("runs"), jobs()}, stdout);
    std::vector<Trial> trials;
    for (const CellPlan& plan : plans) {
      trials.insert(trials.end(), plan.trials.begin(), plan.trials.end());
    }
    const std::vector<StudyRun> runs = runner.run(trials);
    auto run = runs.begin();
    for (const CellPlan& plan : plans) {
      StudyCell cell = plan.cell;
      cell.runs.assign(run, run + std::ssize(plan.trials));
      run += std::ssize(plan.trials);
      for (size_t i = 0; i < cell.runs.size(); ++i) cell.runs[i].seed = plan.trials[i].seed;
      results.cells.push_back(std::move(cell));
    }
  }

  const Study& study_;
  std::string command_;
  int processors_;
  StudyFlags flags_;
  StudySettings settings_;
};

}  // namespace

const Study* find_study(std::string_view name) {
  const auto found = std::ranges::find(studies(), name, &Study::name);
  return found == studies().end() ? nullptr : &*found;
}

int run_study(const Study& study, int argc, const char* const* argv, const std::string& command) {
  StudyCommand run(study, command);
  return run.parse(argc, argv) ? run.run() : 0;
}

}  // namespace offshoot
