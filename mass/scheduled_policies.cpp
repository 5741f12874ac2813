#include "mass/scheduled_policies.h"

#include <algorithm>
#include <limits>

#include "engine/error.h"
#include "engine/random.h"
#include "mass/stopwatch.h"

namespace offshoot {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Streams of a seed: one a layer for the steps, one a layer for the experts.
uint64_t stream_of(size_t layer, bool experts) { return 2 * layer + (experts ? 1 : 0); }

// `count` different steps of [begin, end), rising (selection sampling, Knuth, TAOCP 3.4.2, S).
std::vector<int64_t> random_steps(Random random, int64_t begin, int64_t end, int64_t count) {
  std::vector<int64_t> steps;
  for (int64_t step = begin; step < end && std::ssize(steps) < count; ++step) {
    if (random.below(end - step) < count - std::ssize(steps)) steps.push_back(step);
  }
  return steps;
}

}  // namespace

ScheduledPolicy::ScheduledPolicy(std::vector<MoeLayer*> layers, const MassOptions& options)
    : options_(options), splitter_(std::move(layers), options_) {
  check(options_);
}

std::vector<GrowthEvent> ScheduledPolicy::grow(int64_t step,
                                               const std::vector<std::vector<int64_t>>& tokens,
                                               double, const Probe&) {
  std::vector<GrowthEvent> events;
  if (!monitors(step)) return events;
  times_ = {};
  const Stopwatch watch(times_.edit);
  splitter_.drop_dead_pairs();
  for (size_t i = 0; i < layers().size(); ++i) {
    MoeLayer& layer = *layers()[i];
    if (layer.experts() >= options_.max_experts) continue;
    const int64_t row = choose(i, step, tokens[i]);
    if (row < 0) continue;
    const int64_t source = layer.group().ids()[static_cast<size_t>(row)];
    const int64_t created = splitter_.split(i, source, {step, std::string(name()), {}});
    events.push_back({GrowthEvent::Kind::expand, step, layer.name(), source, created, kNone, kNone,
                      kNone, layer.experts()});
  }
  return events;
}

Tensor ScheduledPolicy::auxiliary_backward(int64_t step) {
  if (!options_.redundancy_always && !monitors(step)) return splitter_.no_redundancy();
  return splitter_.redundancy_backward();
}

void ScheduledPolicy::prepare_load(const H5Reader& file) {
  for (size_t i = 0; i < layers().size(); ++i) splitter_.check_pairs(file, name(), i);
}

void ScheduledPolicy::each_state(State state) {
  for (size_t i = 0; i < layers().size(); ++i) {
    splitter_.walk_pairs(state.scope(layers()[i]->name()), i);
  }
}

SchedulePolicy::SchedulePolicy(std::vector<MoeLayer*> layers, const MassOptions& options,
                               int64_t every)
    : ScheduledPolicy(std::move(layers), options), every_(every) {
  if (every < 1) fail("schedule", "every: got {}, expected at least 1 step", every);
}

int64_t SchedulePolicy::choose(size_t layer, int64_t step, const std::vector<int64_t>& tokens) {
  if ((step - options().phase_begin + 1) % every_ != 0) return -1;
  const std::vector<int64_t> rows = layers()[layer]->group().rows_by_age();
  return *std::ranges::max_element(rows, {},
                                   [&](int64_t row) { return tokens[static_cast<size_t>(row)]; });
}

RandomPolicy::RandomPolicy(std::vector<MoeLayer*> layers, const MassOptions& options, uint64_t seed)
    : ScheduledPolicy(std::move(layers), options), seed_(seed) {
  for (size_t i = 0; i < this->layers().size(); ++i) {
    const int64_t splits = options.max_experts - this->layers()[i]->experts();
    if (splits > options.phase_end - options.phase_begin) {
      fail("random", "phase: got [{}, {}), expected a step for each of {} splits",
           options.phase_begin, options.phase_end, splits);
    }
    steps_.push_back(random_steps(Random(seed, stream_of(i, false)), options.phase_begin,
                                  options.phase_end, splits));
  }
}

int64_t RandomPolicy::choose(size_t layer, int64_t step, const std::vector<int64_t>&) {
  const auto& steps = steps_[layer];
  const auto found = std::ranges::lower_bound(steps, step);
  if (found == steps.end() || *found != step) return -1;
  // The third argument is where a sequence goes on: every step draws numbers of its own.
  Random random(seed_, stream_of(layer, true), 16 * static_cast<uint64_t>(step));
  return random.below(layers()[layer]->experts());
}

}  // namespace offshoot
