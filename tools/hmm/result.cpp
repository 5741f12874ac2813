#include "tools/hmm/result.h"

#include <cmath>
#include <numeric>

#include "engine/device.h"
#include "engine/error.h"
#include "engine/parallel.h"
#include "mass/trace.h"
#include "tools/hmm/method.h"

namespace offshoot {
namespace {

template <class Value>
double mean_over_layers(const Evaluation& evaluation, Value value) {
  double sum = 0;
  for (const LayerEvaluation& layer : evaluation.layers) sum += value(layer);
  return sum / static_cast<double>(evaluation.layers.size());  // NaN without layers
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

void add_divergence(Json& json, const std::string& name, const Divergence& d, int64_t experts) {
  json[name] = d.sparse;
  json[name + "_weighted"] = d.weighted;
  json[name + "_probabilities"] = d.probabilities;
  // Of what is possible: ln K.
  json[name + "_normalised"] = number(d.sparse / std::log(static_cast<double>(experts)));
}

Json layer_json(const LayerEvaluation& layer) {
  Json json = Json::object({{"name", layer.name},
                            {"experts", layer.experts()},
                            {"active_experts", layer.active_experts},
                            {"expert_ids", Json(layer.expert_ids)},
                            {"tokens_per_expert", Json(layer.tokens)}});
  add_divergence(json, "jsd_entity", layer.entity, layer.experts());
  add_divergence(json, "jsd_property", layer.property, layer.experts());
  return json;
}

Json prompt_json(const PromptScore& score) {
  return Json::object({{"kind", to_string(score.kind)},
                       {"length", score.length},
                       {"examples", score.examples},
                       {"scored", score.scored},
                       {"correct", score.correct},
                       {"accuracy", score.scored > 0 ? Json(score.accuracy()) : Json()},
                       {"too_long", score.too_long},
                       {"impossible", score.impossible}});
}

}  // namespace

double mean_experts(const Evaluation& evaluation) {
  return mean_over_layers(evaluation,
                          [](const auto& layer) { return static_cast<double>(layer.experts()); });
}

double mean_active(const Evaluation& evaluation) {
  return mean_over_layers(evaluation, [](const auto& layer) { return layer.active_experts; });
}

double mean_jsd_entity(const Evaluation& evaluation) {
  return mean_over_layers(evaluation, [](const auto& layer) { return layer.entity.sparse; });
}

double mean_jsd_property(const Evaluation& evaluation) {
  return mean_over_layers(evaluation, [](const auto& layer) { return layer.property.sparse; });
}

Json result_json(const RunResult& result) {
  const Evaluation& evaluation = result.evaluation;
  Json layers = Json::array(), events = Json::array(), prompts = Json::array();
  for (const LayerEvaluation& layer : evaluation.layers) layers.push_back(layer_json(layer));
  for (const GrowthEvent& event : result.log.events()) events.push_back(to_json(event));
  for (const PromptScore& score : result.prompts) prompts.push_back(prompt_json(score));
  Json json = Json::object({{"method", method_name(result.config)},
                            {"preset", result.config.preset},
                            {"seed", result.config.seed},
                            {"steps_done", result.log.steps()},
                            {"test_loss", evaluation.loss},
                            {"floor", result.floor.exact},
                            {"floor_last", Json::array({result.floor.last[0], result.floor.last[1],
                                                        result.floor.last[2]})},
                            {"experts", number(mean_experts(evaluation))},
                            {"active_experts", number(mean_active(evaluation))},
                            {"jsd_entity", number(mean_jsd_entity(evaluation))},
                            {"jsd_property", number(mean_jsd_property(evaluation))},
                            {"layers", layers},
                            {"parameters", result.parameters},
                            {"device", describe(parse_device(result.config.device))},
                            {"threads", num_threads()},
                            {"steps_per_second", result.measures.steps_per_second()},
                            {"monitor_share", number(result.measures.monitor_share)},
                            {"peak_memory_bytes", result.measures.peak_memory_bytes},
                            {"events", events}});
  if (!result.prompts.empty()) json["prompts"] = prompts;
  json["configuration"] = result.configuration;
  return json;
}

}  // namespace offshoot
