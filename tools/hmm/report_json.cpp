#include "tools/hmm/report_json.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace offshoot {
namespace {

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json numbers(const std::vector<double>& values) {
  Json list = Json::array();
  for (const double value : values) list.push_back(number(value));
  return list;
}

template <class T>
Json list_of(const std::vector<T>& values, Json (*to)(const T&)) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(to(value));
  return list;
}

double number_of(const Json& json, std::string_view key) {
  return json.at(key).is_null() ? kUnknown : json.get<double>(key);
}

std::vector<double> numbers_of(const Json& json, std::string_view key) {
  std::vector<double> values;
  for (const Json& value : json.at(key).elements()) {
    values.push_back(value.is_null() ? kUnknown : value.get<double>());
  }
  return values;
}

template <class T>
std::vector<T> list_from(const Json& json, std::string_view key, T (*from)(const Json&)) {
  std::vector<T> values;
  for (const Json& value : json.at(key).elements()) values.push_back(from(value));
  return values;
}

// Steps that count from 0 need not be written.
bool counts(const std::vector<double>& steps) {
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] != static_cast<double>(i)) return false;
  }
  return true;
}

Json curve_json(const ReportCurve& curve) {
  Json json = Json::object();
  if (!counts(curve.step) || curve.step.size() != curve.value.size()) {
    json["step"] = numbers(curve.step);
  }
  json["value"] = numbers(curve.value);
  return json;
}

ReportCurve curve_of(const Json& json, std::string_view key) {
  const Json& from = json.at(key);
  ReportCurve curve{{}, numbers_of(from, "value")};
  if (from.contains("step")) {
    curve.step = numbers_of(from, "step");
  } else {
    for (size_t i = 0; i < curve.value.size(); ++i) curve.step.push_back(static_cast<double>(i));
  }
  if (curve.step.size() != curve.value.size()) {
    fail("report", "{}: got {} steps, expected {}, one a value", key, curve.step.size(),
         curve.value.size());
  }
  return curve;
}

Json event_json(const ReportEvent& event) {
  return Json::object({{"step", event.step},
                       {"kind", event.kind},
                       {"source", event.source},
                       {"created", event.created},
                       {"p_value", number(event.p_value)},
                       {"cosine", number(event.cosine)},
                       {"gain", number(event.gain)}});
}

ReportEvent event_of(const Json& json) {
  return {json.get<int64_t>("step"),    json.get<std::string>("kind"), json.get<int64_t>("source"),
          json.get<int64_t>("created"), number_of(json, "p_value"),    number_of(json, "cosine"),
          number_of(json, "gain")};
}

Json expert_json(const ReportExpert& expert) {
  return Json::object({{"id", expert.id},
                       {"parent", expert.parent},
                       {"born", expert.born},
                       {"removed", expert.removed},
                       {"p_value", number(expert.p_value)},
                       {"cosine", number(expert.cosine)},
                       {"gain", number(expert.gain)}});
}

ReportExpert expert_of(const Json& json) {
  return {json.get<int64_t>("id"),      json.get<int64_t>("parent"), json.get<int64_t>("born"),
          json.get<int64_t>("removed"), number_of(json, "p_value"),  number_of(json, "cosine"),
          number_of(json, "gain")};
}

Json routing_json(const ReportRouting& routing) {
  return Json::object({{"expert_ids", Json(routing.expert_ids)},
                       {"tokens", numbers(routing.tokens)},
                       {"total_tokens", number(routing.total_tokens)},
                       {"entities", routing.entities},
                       {"properties", routing.properties},
                       {"by_entity", numbers(routing.by_entity)},
                       {"by_property", numbers(routing.by_property)}});
}

ReportRouting routing_of(const Json& json) {
  ReportRouting routing;
  for (const Json& id : json.at("expert_ids").elements()) {
    routing.expert_ids.push_back(id.get<int64_t>());
  }
  routing.tokens = numbers_of(json, "tokens");
  routing.total_tokens = number_of(json, "total_tokens");
  routing.entities = json.get<int64_t>("entities");
  routing.properties = json.get<int64_t>("properties");
  routing.by_entity = numbers_of(json, "by_entity");
  routing.by_property = numbers_of(json, "by_property");
  const int64_t experts = std::ssize(routing.expert_ids);
  const auto check = [&](std::string_view name, const std::vector<double>& values,
                         int64_t columns) {
    int64_t expected = 0;
    if (columns >= 0 && !__builtin_mul_overflow(experts, columns, &expected) &&
        std::ssize(values) == expected) {
      return;
    }
    fail("report", "{}: got {} numbers, expected {} experts times {}", name, values.size(), experts,
         columns);
  };
  check("tokens", routing.tokens, 1);
  check("by_entity", routing.by_entity, routing.entities);
  check("by_property", routing.by_property, routing.properties);
  return routing;
}

Json divergence_json(const ReportDivergence& divergence) {
  return Json::object(
      {{"entity", number(divergence.entity)}, {"property", number(divergence.property)}});
}

ReportDivergence divergence_of(const Json& json, std::string_view key) {
  return {number_of(json.at(key), "entity"), number_of(json.at(key), "property")};
}

Json layer_json(const ReportLayer& layer) {
  return Json::object({{"index", layer.index},
                       {"experts_initial", number(layer.experts_initial)},
                       {"experts", number(layer.experts)},
                       {"active_experts", number(layer.active_experts)},
                       {"experts_curve", curve_json(layer.experts_curve)},
                       {"lineage", list_of(layer.lineage, expert_json)},
                       {"events", list_of(layer.events, event_json)},
                       {"routing", routing_json(layer.routing)},
                       {"sparse", divergence_json(layer.sparse)},
                       {"weighted", divergence_json(layer.weighted)},
                       {"probabilities", divergence_json(layer.probabilities)}});
}

ReportLayer layer_of(const Json& json) {
  return {json.get<int64_t>("index"),          number_of(json, "experts_initial"),
          number_of(json, "experts"),          number_of(json, "active_experts"),
          curve_of(json, "experts_curve"),     list_from(json, "lineage", expert_of),
          list_from(json, "events", event_of), routing_of(json.at("routing")),
          divergence_of(json, "sparse"),       divergence_of(json, "weighted"),
          divergence_of(json, "probabilities")};
}

Json pair_json(const std::pair<std::string, std::string>& pair) {
  return Json::array({pair.first, pair.second});
}

std::pair<std::string, std::string> pair_of(const Json& json) {
  return {json.get<std::string>(0), json.get<std::string>(1)};
}

ReportProvenance provenance_of(const Json& json) {
  return {json.get<std::string>("engine_version"),
          json.get<std::string>("build"),
          json.get<std::string>("machine"),
          json.get<std::string>("command"),
          json.get<std::string>("finished"),
          number_of(json, "threads"),
          number_of(json, "seconds"),
          number_of(json, "steps_per_second"),
          number_of(json, "peak_memory_bytes")};
}

}  // namespace

Json report_json(const ReportData& data) {
  return Json::object({{"method", data.method},
                       {"preset", data.preset},
                       {"routing", data.routing},
                       {"seed", number(data.seed)},
                       {"steps_planned", number(data.steps_planned)},
                       {"steps_done", number(data.steps_done)},
                       {"phase_begin", number(data.phase_begin)},
                       {"phase_end", number(data.phase_end)},
                       {"test_loss", number(data.test_loss)},
                       {"floor", number(data.floor)},
                       {"floor_last", numbers({data.floor_last.begin(), data.floor_last.end()})},
                       {"experts", number(data.experts)},
                       {"active_experts", number(data.active_experts)},
                       {"jsd", divergence_json(data.jsd)},
                       {"train_loss", curve_json(data.train_loss)},
                       {"active_curve", curve_json(data.active_curve)},
                       {"test_loss_curve", curve_json(data.test_loss_curve)},
                       {"layers", list_of(data.layers, layer_json)},
                       {"configuration", list_of(data.configuration, pair_json)}});
}

Json report_provenance_json(const ReportProvenance& provenance) {
  return Json::object({{"engine_version", provenance.engine_version},
                       {"build", provenance.build},
                       {"machine", provenance.machine},
                       {"command", provenance.command},
                       {"finished", provenance.finished},
                       {"threads", number(provenance.threads)},
                       {"seconds", number(provenance.seconds)},
                       {"steps_per_second", number(provenance.steps_per_second)},
                       {"peak_memory_bytes", number(provenance.peak_memory_bytes)}});
}

ReportData report_from_json(const Json& json, const Json& provenance) {
  ReportData data;
  data.method = json.get<std::string>("method");
  data.preset = json.get<std::string>("preset");
  data.routing = json.get<std::string>("routing");
  data.seed = number_of(json, "seed");
  data.steps_planned = number_of(json, "steps_planned");
  data.steps_done = number_of(json, "steps_done");
  data.phase_begin = number_of(json, "phase_begin");
  data.phase_end = number_of(json, "phase_end");
  data.test_loss = number_of(json, "test_loss");
  data.floor = number_of(json, "floor");
  const std::vector<double> floor_last = numbers_of(json, "floor_last");
  if (floor_last.size() != data.floor_last.size()) {
    fail("report", "floor_last: got {} numbers, expected {}", floor_last.size(),
         data.floor_last.size());
  }
  std::ranges::copy(floor_last, data.floor_last.begin());
  data.experts = number_of(json, "experts");
  data.active_experts = number_of(json, "active_experts");
  data.jsd = divergence_of(json, "jsd");
  data.train_loss = curve_of(json, "train_loss");
  data.active_curve = curve_of(json, "active_curve");
  data.test_loss_curve = curve_of(json, "test_loss_curve");
  data.layers = list_from(json, "layers", layer_of);
  data.configuration = list_from(json, "configuration", pair_of);
  data.provenance = provenance_of(provenance);
  return data;
}

}  // namespace offshoot
