#include "tools/hmm/run_checkpoint.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

std::vector<CheckpointPart> parts_of(const RunState& run) {
  std::vector<CheckpointPart> parts;
  parts.push_back({"optimizer", [&](State& state) { each_state(state, run.trainer.optimizer()); }});
  if (GrowthPolicy* policy = run.trainer.policy()) {
    parts.push_back(
        {std::string(policy->name()), [policy](State& state) { policy->each_state(state); }});
  }
  parts.push_back({"random", [&](State& state) {
                     uint64_t seed = run.trainer.options().seed;
                     state.value("seed", seed);
                   }});
  parts.push_back({"data", [&](State& state) {
                     int64_t position = run.batches.position();
                     state.value("position", position);
                     if (state.applying()) run.batches.seek(position);
                   }});
  parts.push_back({"metrics", [&](State& state) { run.log.each_state(state); }});
  parts.push_back({"report", [&](State& state) { state.text("data", run.report); }});
  return parts;
}

}  // namespace

void save_run(const std::string& path, const RunState& run, const Json& configuration,
              const Provenance& provenance) {
  const CheckpointHead head{run.trainer.steps_done(),
                            static_cast<int64_t>(run.trainer.options().seed)};
  save_checkpoint(path, {head, configuration.dump(2), provenance}, run.trainer.model(),
                  parts_of(run));
}

void load_run(const CheckpointReader& file, const RunState& run) {
  if (GrowthPolicy* policy = run.trainer.policy()) policy->prepare_load(file.h5());
  run.trainer.seek(file.head().step);
  load_checkpoint(file, run.trainer.model(), parts_of(run));
  if (run.log.steps() != file.head().step) {
    fail("checkpoint", "{}: got metrics of {} steps, expected {}", file.path(), run.log.steps(),
         file.head().step);
  }
}

Json run_configuration(const CheckpointReader& file) {
  return Json::parse(read_configuration(file), file.path() + ": configuration");
}

}  // namespace offshoot
