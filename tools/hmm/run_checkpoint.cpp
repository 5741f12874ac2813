#include "tools/hmm/run_checkpoint.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

void walk_layer(State state, MassController& controller, size_t layer) {
  MassController::LayerState own = controller.state(layer);
  state.value("stopped", own.stopped);
  state.value("patience", own.patience);
  state.value("expansions", own.expansions);
  std::vector<int64_t> pairs;
  for (const auto& [source, copy] : own.pairs) pairs.insert(pairs.end(), {source, copy});
  state.values("pairs", pairs);
  if (const DriftDetector* detector = controller.detector(layer)) {
    detector->each_state([&](std::string_view name, const Tensor& tensor) {
      state.tensor(name, tensor, &controller.layers()[layer]->group());
    });
  }
  if (!state.applying()) return;
  own.pairs.clear();
  for (size_t i = 0; i < pairs.size(); i += 2) own.pairs.emplace_back(pairs[i], pairs[i + 1]);
  controller.restore(layer, std::move(own));
}

std::vector<CheckpointPart> parts_of(const RunState& run) {
  std::vector<CheckpointPart> parts;
  parts.push_back({"optimizer", [&](State& state) { each_state(state, run.trainer.optimizer()); }});
  if (MassController* controller = run.trainer.controller()) {
    parts.push_back({"mass", [controller](State& state) {
                       for (size_t i = 0; i < controller->layers().size(); ++i) {
                         walk_layer(state.scope(controller->layers()[i]->name()), *controller, i);
                       }
                     }});
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

// Before anything changes: pairs are of experts that live in the file.
void check_pairs(const CheckpointReader& file, Trainer& trainer) {
  for (const MoeLayer* layer : trainer.controller()->layers()) {
    const std::string name = fmt::format("mass/{}/pairs", layer->name());
    if (!file.h5().has(name)) continue;
    const auto pairs = file.h5().read<int64_t>(name);
    const auto ids = file.h5().read<int64_t>(fmt::format("growth/{}/ids", layer->group().name()));
    if (pairs.size() % 2 != 0) {
      fail("mass", "{}: {}: got {} ids, expected two for each pair", file.path(), name,
           pairs.size());
    }
    for (const int64_t id : pairs) {
      if (std::ranges::find(ids, id) != ids.end()) continue;
      fail("mass", "{}: {}: got expert {}, expected one that lives", file.path(), name, id);
    }
  }
}

// Makes the windows that a run after `step` steps has, for the load to fill: none for a layer that
// stopped.
void prepare_windows(const CheckpointReader& file, Trainer& trainer) {
  if (MassController* controller = trainer.controller()) {
    for (size_t i = 0; i < controller->layers().size(); ++i) {
      const std::string name = "mass/" + controller->layers()[i]->name() + "/stopped";
      MassController::LayerState state;
      state.stopped = file.h5().read<uint8_t>(name, Shape{}).front() != 0;
      controller->restore(i, state);
    }
  }
  trainer.seek(file.head().step);
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
  if (run.trainer.controller() != nullptr) check_pairs(file, run.trainer);
  prepare_windows(file, run.trainer);
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
