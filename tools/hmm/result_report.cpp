// What the report shows of a finished run.
#include <algorithm>
#include <ctime>
#include <fstream>
#include <numeric>
#include <thread>

#include "engine/checkpoint.h"
#include "engine/error.h"
#include "engine/parallel.h"
#include "tools/hmm/method.h"
#include "tools/hmm/report_event.h"
#include "tools/hmm/result.h"

namespace offshoot {
namespace {

// Columns of [label][slot] become rows by rising id.
std::vector<double> by_id(const std::vector<std::vector<double>>& weights,
                          const std::vector<size_t>& slots) {
  std::vector<double> out;
  for (const size_t slot : slots) {
    for (const auto& label : weights) out.push_back(label[slot]);
  }
  return out;
}

ReportRouting report_routing(const LayerEvaluation& layer, int64_t tokens) {
  std::vector<size_t> slots(layer.expert_ids.size());
  std::iota(slots.begin(), slots.end(), size_t{0});
  std::ranges::sort(slots, {}, [&](size_t slot) { return layer.expert_ids[slot]; });
  ReportRouting routing;
  for (const size_t slot : slots) {
    routing.expert_ids.push_back(layer.expert_ids[slot]);
    routing.tokens.push_back(static_cast<double>(layer.tokens[slot]));
  }
  routing.total_tokens = static_cast<double>(tokens);
  routing.entities = std::ssize(layer.by_entity);
  routing.properties = std::ssize(layer.by_property);
  routing.by_entity = by_id(layer.by_entity, slots);
  routing.by_property = by_id(layer.by_property, slots);
  return routing;
}

ReportLayer report_layer(const RunResult& result, size_t index) {
  const LayerEvaluation& layer = result.evaluation.layers[index];
  ReportLayer report;
  report.index = static_cast<int64_t>(index);
  report.experts_initial = static_cast<double>(result.config.experts);
  report.experts = static_cast<double>(layer.experts());
  report.active_experts = layer.active_experts;
  double before = -1;
  const auto& experts = result.log.experts(index);
  for (size_t step = 0; step < experts.size(); ++step) {
    const auto now = static_cast<double>(experts[step]);
    if (now == before) continue;
    report.experts_curve.step.push_back(static_cast<double>(step));
    report.experts_curve.value.push_back(before = now);
  }
  for (const GrowthEvent& event : result.log.events()) {
    if (event.layer == layer.name) report.events.push_back(report_event(event));
  }
  report.lineage = lineage_from_events(result.config.experts, report.events,
                                       result.config.mass.stop_removes_last);
  report.routing = report_routing(layer, result.evaluation.tokens);
  report.sparse = {layer.entity.sparse, layer.property.sparse};
  report.weighted = {layer.entity.weighted, layer.property.weighted};
  report.probabilities = {layer.entity.probabilities, layer.property.probabilities};
  return report;
}

ReportCurve curve(const std::vector<double>& values) {
  ReportCurve out{{}, values};
  for (size_t step = 0; step < values.size(); ++step) {
    out.step.push_back(static_cast<double>(step));
  }
  return out;
}

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) {
      return line.substr(line.find(": ") + 2);
    }
  }
  return "unknown processor";
}

ReportProvenance report_provenance(const RunResult& result) {
  ReportProvenance out;
  for (const auto& [name, text] : provenance()) {
    if (name == "engine_version") out.engine_version = text;
    if (name == "time") out.finished = text;
  }
#if defined(__OPTIMIZE__)
  out.build = "g++ " __VERSION__ ", optimised";
#else
  out.build = "g++ " __VERSION__ ", not optimised";
#endif
  out.machine = fmt::format("{}, {} cores", processor(), std::thread::hardware_concurrency());
  out.command = result.command;
  out.threads = num_threads();
  out.seconds = result.measures.seconds;
  out.steps_per_second = result.measures.steps_per_second();
  out.peak_memory_bytes = static_cast<double>(result.measures.peak_memory_bytes);
  return out;
}

}  // namespace

ReportData report_data(const RunResult& result) {
  const HmmConfig& config = result.config;
  const TrainingLog& log = result.log;
  ReportData data;
  data.method = method_name(config);
  const bool preset = !config.dense() && (*config.policy == "mass" || *config.router == "topp");
  if (preset) data.preset = config.preset;
  data.routing = routing_text(config);
  data.seed = static_cast<double>(config.seed);
  data.steps_planned = static_cast<double>(config.steps);
  data.steps_done = static_cast<double>(log.steps());
  if (config.grows()) {
    const bool dynmoe = *config.policy == "dynmoe";
    data.phase_begin = dynmoe ? 0.0 : static_cast<double>(config.mass.phase_begin);
    data.phase_end = static_cast<double>(dynmoe ? *config.adapt_until : config.mass.phase_end);
  }
  data.test_loss = result.evaluation.loss;
  data.floor = result.floor.exact;
  data.floor_last = result.floor.last;
  data.experts = mean_experts(result.evaluation);
  data.active_experts = mean_active(result.evaluation);
  data.jsd = {mean_jsd_entity(result.evaluation), mean_jsd_property(result.evaluation)};
  data.train_loss = curve(log.loss());
  for (const int64_t step : log.test_steps()) {
    data.test_loss_curve.step.push_back(static_cast<double>(step));
  }
  data.test_loss_curve.value = log.test_loss();
  for (size_t i = 0; i < result.evaluation.layers.size(); ++i) {
    data.layers.push_back(report_layer(result, i));
  }
  if (!data.layers.empty()) data.active_curve = curve(log.active_experts());
  for (const auto& [key, value] : result.configuration.members()) {
    if (value.is_null()) continue;
    data.configuration.emplace_back(key,
                                    value.is_string() ? value.get<std::string>() : value.dump());
  }
  data.provenance = report_provenance(result);
  return data;
}

}  // namespace offshoot
