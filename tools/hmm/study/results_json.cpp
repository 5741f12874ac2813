// Results as JSON: to_json and study_results_from_json of results.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "engine/error.h"
#include "mass/trace.h"
#include "tools/hmm/study/results.h"

namespace offshoot {
namespace {

using Numbers = std::map<std::string, double>;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }
double number_of(const Json& json) { return json.is_null() ? kNone : json.get<double>(); }

// Members in the order of the map's keys.
template <class T, class To>
Json object_of(const std::map<std::string, T>& values, To to) {
  Json object = Json::object();
  for (const auto& [name, value] : values) object[name] = to(value);
  return object;
}

template <class From>
auto map_from(const Json& json, From from) {
  std::map<std::string, decltype(from(json))> values;
  for (const Json::Member& member : json.members()) values[member.key] = from(member.value);
  return values;
}

template <class T, class To>
Json list_of(const std::vector<T>& values, To to) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(to(value));
  return list;
}

template <class From>
auto list_from(const Json& json, From from) {
  std::vector<decltype(from(json))> values;
  for (const Json& value : json.elements()) values.push_back(from(value));
  return values;
}

std::string text_of(const Json& json) { return json.get<std::string>(); }
int64_t integer_of(const Json& json) { return json.get<int64_t>(); }

using Curve = std::vector<std::pair<double, double>>;

Json curve_json(const Curve& curve) {
  return list_of(curve, [](const std::pair<double, double>& point) {
    return Json::array({number(point.first), number(point.second)});
  });
}

Curve curve_of(const Json& json) {
  return list_from(json, [](const Json& point) {
    return std::pair(number_of(point.at(0)), number_of(point.at(1)));
  });
}

Json estimate_json(const Estimate& estimate) {
  return Json::object({{"n", estimate.n},
                       {"mean", number(estimate.mean)},
                       {"standard_error", number(estimate.standard_error)},
                       {"low", number(estimate.low)},
                       {"high", number(estimate.high)}});
}

Estimate estimate_of(const Json& json) {
  return {json.get<int64_t>("n"), number_of(json.at("mean")), number_of(json.at("standard_error")),
          number_of(json.at("low")), number_of(json.at("high"))};
}

}  // namespace

Json to_json(const StudyRun& run) {
  return Json::object(
      {{"seed", run.seed},
       {"measures", object_of(run.measures, number)},
       {"initial_experts", run.initial_experts},
       {"experts", list_of(run.experts,
                           [](const std::pair<int64_t, int64_t>& change) {
                             return Json::array({change.first, change.second});
                           })},
       {"events", list_of(run.events, [](const GrowthEvent& event) { return to_json(event); })},
       {"curves", object_of(run.curves, curve_json)}});
}

StudyRun study_run_from_json(const Json& json) {
  StudyRun run;
  run.seed = json.get<int64_t>("seed");
  run.measures = map_from(json.at("measures"), number_of);
  run.initial_experts = json.get<int64_t>("initial_experts");
  run.experts = list_from(json.at("experts"), [](const Json& change) {
    return std::pair(change.get<int64_t>(0), change.get<int64_t>(1));
  });
  run.events = list_from(json.at("events"), growth_event_from_json);
  run.curves = map_from(json.at("curves"), curve_of);
  return run;
}

namespace {

Json cell_json(const StudyCell& cell) {
  return Json::object(
      {{"name", cell.name},
       {"label", cell.label},
       {"family", cell.family},
       {"flags", Json(cell.flags)},
       {"numbers", object_of(cell.numbers, number)},
       {"published", object_of(cell.published, number)},
       {"runs", list_of(cell.runs, [](const StudyRun& run) { return to_json(run); })},
       {"estimates", object_of(cell.estimates, estimate_json)}});
}

StudyCell cell_of(const Json& json) {
  StudyCell cell;
  cell.name = json.get<std::string>("name");
  cell.label = json.get<std::string>("label");
  cell.family = json.get<std::string>("family");
  cell.flags = list_from(json.at("flags"), text_of);
  cell.numbers = map_from(json.at("numbers"), number_of);
  cell.published = map_from(json.at("published"), number_of);
  cell.runs = list_from(json.at("runs"), study_run_from_json);
  cell.estimates = map_from(json.at("estimates"), estimate_of);
  return cell;
}

Json comparison_json(const StudyComparison& comparison) {
  return Json::object({{"measure", comparison.measure},
                       {"cell", comparison.cell},
                       {"against", comparison.against},
                       {"difference", estimate_json(comparison.difference)},
                       {"larger_than_noise", differs_from_zero(comparison.difference)}});
}

StudyComparison comparison_of(const Json& json) {
  return {json.get<std::string>("measure"), json.get<std::string>("cell"),
          json.get<std::string>("against"), estimate_of(json.at("difference"))};
}

constexpr std::string_view kFormat = "offshoot-study";
constexpr int64_t kVersion = 1;

// What no study writes.
void check(const StudyResults& results) {
  if (results.cells.empty()) fail("study", "cells: got none, expected at least one");
  std::set<std::string> names;
  for (const StudyCell& cell : results.cells) {
    if (!names.insert(cell.name).second) {
      fail("study", "cells: got {} twice, expected each once", cell.name);
    }
    for (const StudyRun& run : cell.runs) {
      if (std::ranges::find(results.seeds, run.seed) != results.seeds.end()) continue;
      fail("study", "{}: got a run of seed {}, expected one of the study's", cell.name, run.seed);
    }
  }
}

}  // namespace

Json to_json(const StudyResults& results) {
  return Json::object({{"format", kFormat},
                       {"format_version", kVersion},
                       {"study", results.study},
                       {"title", results.title},
                       {"question", results.question},
                       {"command", results.command},
                       {"engine_version", results.engine_version},
                       {"steps", results.steps},
                       {"quick", results.quick},
                       {"seeds", Json(results.seeds)},
                       {"cells", list_of(results.cells, cell_json)},
                       {"comparisons", list_of(results.comparisons, comparison_json)}});
}

StudyResults study_results_from_json(const Json& json) {
  const auto format = json.get<std::string>("format");
  if (format != kFormat) fail("study", "format: got {}, expected {}", format, kFormat);
  const auto version = json.get<int64_t>("format_version");
  if (version != kVersion) {
    fail("study", "format_version: got {}, expected {}", version, kVersion);
  }
  StudyResults results;
  results.study = json.get<std::string>("study");
  results.title = json.get<std::string>("title");
  results.question = json.get<std::string>("question");
  results.command = json.get<std::string>("command");
  results.engine_version = json.get<std::string>("engine_version");
  results.steps = json.get<int64_t>("steps");
  results.quick = json.get<bool>("quick");
  results.seeds = list_from(json.at("seeds"), integer_of);
  results.cells = list_from(json.at("cells"), cell_of);
  results.comparisons = list_from(json.at("comparisons"), comparison_of);
  check(results);
  return results;
}

}  // namespace offshoot
