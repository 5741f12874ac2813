#include "tests/tools/report_demo.h"

#include <algorithm>
#include <cmath>

#include "engine/random.h"

namespace offshoot::testing {
namespace {

double loss_at(double step) {
  return 1.86 + 2.05 * std::exp(-step / 45) + 0.35 * std::exp(-step / 500);
}

std::vector<ReportEvent> demo_events() {
  return {
      {.step = 270,
       .kind = "expand",
       .source = 2,
       .created = 8,
       .p_value = 4.1e-7,
       .cosine = 2.3e-4},
      {.step = 272,
       .kind = "expand",
       .source = 5,
       .created = 9,
       .p_value = 8.4e-4,
       .cosine = -6.1e-4},
      {.step = 275,
       .kind = "reject",
       .source = 9,
       .p_value = 0.0031,
       .cosine = 9.0e-5,
       .gain = -0.00042},
      {.step = 275,
       .kind = "expand",
       .source = 0,
       .created = 10,
       .p_value = 0.0031,
       .cosine = 9.0e-5,
       .gain = -0.00042},
      {.step = 279,
       .kind = "keep",
       .source = 10,
       .p_value = 0.0098,
       .cosine = 7.7e-4,
       .gain = 0.0187},
      {.step = 279,
       .kind = "expand",
       .source = 3,
       .created = 11,
       .p_value = 0.0098,
       .cosine = 7.7e-4,
       .gain = 0.0187},
      {.step = 284,
       .kind = "reject",
       .source = 11,
       .p_value = 0.0012,
       .cosine = -1.4e-4,
       .gain = -0.00008},
      {.step = 284,
       .kind = "expand",
       .source = 2,
       .created = 12,
       .p_value = 0.0012,
       .cosine = -1.4e-4,
       .gain = -0.00008},
      {.step = 291,
       .kind = "keep",
       .source = 12,
       .p_value = 2.6e-5,
       .cosine = 3.3e-4,
       .gain = 0.0042},
      {.step = 291,
       .kind = "expand",
       .source = 12,
       .created = 13,
       .p_value = 2.6e-5,
       .cosine = 3.3e-4,
       .gain = 0.0042},
      {.step = 297,
       .kind = "stop",
       .source = 13,
       .p_value = 0.0077,
       .cosine = 5.0e-4,
       .gain = -0.0011},
  };
}

// Each expert prefers two entities and, faintly, a property.
void fill_routing(ReportLayer& layer, Random& random) {
  ReportRouting& routing = layer.routing;
  routing.entities = 10;
  routing.properties = 10;
  routing.total_tokens = 512 * 64;
  for (const ReportExpert& expert : layer.lineage) {
    if (expert.removed < 0) routing.expert_ids.push_back(expert.id);
  }
  const auto rows = static_cast<int64_t>(routing.expert_ids.size());
  const auto fill = [&](std::vector<double>& values, int64_t columns, double sharpness) {
    values.assign(static_cast<size_t>(rows * columns), 0);
    for (int64_t c = 0; c < columns; ++c) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r) {
        const double noise = random.uniform();
        const double weight = std::exp(sharpness * noise * noise * noise);
        values[static_cast<size_t>(r * columns + c)] = weight;
        sum += weight;
      }
      for (int64_t r = 0; r < rows; ++r) values[static_cast<size_t>(r * columns + c)] /= sum;
    }
  };
  fill(routing.by_entity, routing.entities, 5.5);
  fill(routing.by_property, routing.properties, 2.0);
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0;
    for (int64_t c = 0; c < 10; ++c)
      mean += routing.by_entity[static_cast<size_t>(r * 10 + c)] / 10;
    routing.tokens.push_back(std::round(3.9 * mean * routing.total_tokens));
  }
}

ReportLayer demo_layer(int64_t index, int64_t steps) {
  Random random(41, static_cast<uint64_t>(index));
  ReportLayer layer;
  layer.index = index;
  layer.experts_initial = 8;
  layer.experts = 12;
  layer.active_experts = 3.87;
  layer.events = demo_events();
  layer.lineage = lineage_from_events(8, layer.events, false);
  double experts = 8;
  for (int64_t step = 0; step < steps; ++step) {
    for (const ReportEvent& event : layer.events) {
      if (event.step != step) continue;
      experts += event.kind == "expand" ? 1 : event.kind == "reject" ? -1 : 0;
    }
    const auto at = static_cast<double>(step);
    layer.experts_curve.step.push_back(at);
    layer.experts_curve.value.push_back(experts);
  }
  fill_routing(layer, random);
  layer.sparse = {0.612, 0.101};
  layer.weighted = {0.598, 0.097};
  layer.probabilities = {0.441, 0.069};
  return layer;
}

}  // namespace

ReportData demo_report(int64_t steps, int64_t layers) {
  ReportData data;
  data.method = "mass";
  data.preset = "reference";
  data.routing = "top-p, p = 0.9";
  data.seed = 0;
  data.steps_planned = data.steps_done = static_cast<double>(steps);
  data.phase_begin = 0;
  data.phase_end = std::floor(0.1 * data.steps_planned);
  data.test_loss = 1.8864;
  data.floor = 1.331252;
  data.floor_last = {2.810, 1.977, 1.521};
  data.experts = 12;
  data.active_experts = 3.87;
  data.jsd = {0.612, 0.101};
  Random random(7, 1);
  for (int64_t step = 0; step < steps; ++step) {
    const auto at = static_cast<double>(step);
    const double noise = random.uniform() + random.uniform() - 1;
    data.train_loss.step.push_back(at);
    data.train_loss.value.push_back(loss_at(3000 * at / static_cast<double>(steps)) + 0.12 * noise);
    data.active_curve.step.push_back(at);
    data.active_curve.value.push_back(3.8 + 3.1 * std::exp(-at / 120) + 0.25 * random.uniform() +
                                      (step > 280 ? 0.5 * std::exp(-(at - 280) / 400) : 0));
    if (step % std::max<int64_t>(1, steps / 12) != 0 || step == 0) continue;
    data.test_loss_curve.step.push_back(at);
    data.test_loss_curve.value.push_back(loss_at(3000 * at / static_cast<double>(steps)) + 0.03);
  }
  data.test_loss_curve.step.push_back(static_cast<double>(steps));
  data.test_loss_curve.value.push_back(data.test_loss);
  for (int64_t i = 0; i < layers; ++i) data.layers.push_back(demo_layer(i, steps));
  data.configuration = {{"method", "mass"},   {"preset", "reference"},
                        {"experts", "8"},     {"max-experts", "20"},
                        {"p", "0.9"},         {"steps", "3000"},
                        {"batch", "16"},      {"seq", "64"},
                        {"lr", "0.003"},      {"seed", "0"},
                        {"hmm-seed", "1111"}, {"threads", "2"},
                        {"precision", "f32"}, {"d-model", "64"},
                        {"heads", "4"},       {"layers", "1"},
                        {"hidden", "32"},     {"alpha", "0.01"},
                        {"delta", "0.001"},   {"patience", "3"},
                        {"window", "270"},    {"warmup-steps", "150"},
                        {"nll-min", "1"},     {"redundancy-weight", "0.01"}};
  data.provenance = {.engine_version = "0.1.0",
                     .build = "g++ 12.2.0, Release, AVX2",
                     .machine = "2 cores of an x86-64",
                     .command = "tools/run hmm --method mass --p 0.9 --experts 8 --out out/mass",
                     .finished = "2026-01-31 12:00 UTC",
                     .threads = 2,
                     .seconds = 7.6,
                     .steps_per_second = 394.2,
                     .peak_memory_bytes = 96.0 * 1024 * 1024};
  return data;
}

}  // namespace offshoot::testing
