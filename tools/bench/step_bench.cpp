// step: training steps of the synthetic experiment in its reference configuration.
#include <fmt/core.h>

#include <numeric>
#include <string>

#include "ops/cross_entropy.h"
#include "tools/bench/bench.h"
#include "tools/hmm/config.h"
#include "tools/hmm/data.h"
#include "tools/hmm/trainer.h"

namespace offshoot {
namespace {

HmmConfig config_of(const std::vector<const char*>& flags) {
  std::vector<const char*> arguments = {"offshoot-hmm"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  HmmConfig config;
  HmmOptions options(config);
  options.parse(static_cast<int>(arguments.size()), arguments.data());
  options.resolve();
  return config;
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Seconds of the parts of a step, on a model as it is after training.
struct Parts {
  double forward, backward, optimizer;
};

Parts time_parts(Trainer& trainer, BatchSource& batches, int64_t steps) {
  std::vector<double> forward, backward, update;
  for (int64_t step = 0; step < steps; ++step) {
    const auto [inputs, targets] = inputs_and_targets(batches.next());
    trainer.optimizer().zero_grad();
    Tape tape;
    Context context{tape, true};
    Tensor loss;
    forward.push_back(seconds_of([&, &in = inputs, &out = targets] {
      loss = cross_entropy(tape, trainer.model().forward(context, in), out);
    }));
    backward.push_back(seconds_of([&] { tape.backward(loss); }));
    update.push_back(seconds_of([&] { trainer.optimizer().step(1e-4); }));
  }
  return {median(forward), median(backward), median(update)};
}

void measure(const std::string& name, const std::vector<const char*>& flags, int64_t steps,
             BenchTable& table) {
  HmmConfig config = config_of(flags);
  const HmmData data = load_data(config);
  Trainer trainer(trainer_options(config, data.corpus.n_symbols));
  BatchSource batches(data.corpus.train, config.batch, config.seq, 0);
  std::vector<double> seconds, monitor;
  double active = 0;
  int64_t requests_after_1 = 0, requests_after_50 = 0;  // of the system, for memory
  for (int64_t step = 0; step < steps; ++step) {
    const Tensor tokens = batches.next();
    StepResult result{};
    seconds.push_back(seconds_of([&] { result = trainer.step(tokens); }));
    if (trainer.policy() && trainer.policy()->monitors(step)) {
      monitor.push_back(result.monitor_seconds / seconds.back());
    }
    active += result.active_experts / static_cast<double>(steps);
    const int64_t requests = storage_stats().system_requests;
    if (step <= 1) requests_after_1 = requests;
    if (step <= 50) requests_after_50 = requests;
  }
  const int64_t requests = storage_stats().system_requests;
  const Parts parts = time_parts(trainer, batches, steps);
  const double whole = median(seconds);
  const auto tokens = static_cast<double>(config.batch * config.seq);
  const auto layers = trainer.model().moe_layers();
  table.add(
      Json::object({{"method", name},
                    {"steps_per_second", 1 / mean(seconds)},
                    {"median_ms", 1e3 * whole},
                    {"tokens_per_second", tokens / mean(seconds)},
                    {"forward_percent", 100 * parts.forward / whole},
                    {"backward_percent", 100 * parts.backward / whole},
                    {"optimizer_percent", 100 * parts.optimizer / whole},
                    {"monitor_percent", monitor.empty() ? Json() : Json(100 * median(monitor))},
                    {"requests_after_step_1", requests - requests_after_1},
                    {"requests_after_step_50", requests - requests_after_50},
                    {"experts", layers.empty() ? Json() : Json(layers[0]->experts())},
                    {"active_experts", layers.empty() ? Json() : Json(active)}}));
}

}  // namespace

BenchTable bench_step(const BenchOptions& options) {
  BenchTable table("step",
                   fmt::format("training steps of offshoot-hmm's reference configuration, {} of "
                               "each method; parts in percent of the median step",
                               options.steps),
                   {{"method", "method", 14},
                    {"steps_per_second", "steps/s", 9, 1},
                    {"median_ms", "median ms", 10, 3},
                    {"tokens_per_second", "tokens/s", 10, 0},
                    {"forward_percent", "forward", 8, 1},
                    {"backward_percent", "backward", 8, 1},
                    {"optimizer_percent", "optimizer", 9, 1},
                    {"monitor_percent", "monitor", 8, 2},
                    {"requests_after_step_1", "requests", 8},
                    {"experts", "E", 4},
                    {"active_experts", "active", 7, 2}});
  measure("mass p 0.7", {"--method", "mass", "--p", "0.7"}, options.steps, table);
  measure("topp p 0.7", {"--method", "topp", "--p", "0.7"}, options.steps, table);
  measure("topk 2 of 8", {"--method", "topk", "--topk", "2"}, options.steps, table);
  measure("dense", {"--method", "dense"}, options.steps, table);
  table.note("requests: for memory, to the system, after step 1; an expansion makes some");
  return table;
}

}  // namespace offshoot
