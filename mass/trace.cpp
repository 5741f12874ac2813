#include "mass/trace.h"

#include <cmath>
#include <limits>

#include "engine/error.h"

namespace offshoot {
namespace {

Json number(double value) { return std::isnan(value) ? Json() : Json(value); }
Json id(int64_t value) { return value < 0 ? Json() : Json(value); }

double number_of(const Json& json, std::string_view key) {
  if (json.at(key).is_null()) return std::numeric_limits<double>::quiet_NaN();
  return json.get<double>(key);
}

int64_t id_of(const Json& json, std::string_view key) {
  return json.at(key).is_null() ? -1 : json.get<int64_t>(key);
}

GrowthEvent::Kind kind_of(const std::string& text) {
  for (const auto kind :
       {GrowthEvent::Kind::expand, GrowthEvent::Kind::keep, GrowthEvent::Kind::reject,
        GrowthEvent::Kind::stop, GrowthEvent::Kind::add, GrowthEvent::Kind::remove}) {
    if (text == to_string(kind)) return kind;
  }
  fail("trace", "kind: got {}, expected expand, keep, reject, stop, add or remove", text);
}

}  // namespace

// Here, so that a reader of events needs no controller, nor the operations beneath it.
std::string_view to_string(GrowthEvent::Kind kind) {
  switch (kind) {
    case GrowthEvent::Kind::expand:
      return "expand";
    case GrowthEvent::Kind::keep:
      return "keep";
    case GrowthEvent::Kind::reject:
      return "reject";
    case GrowthEvent::Kind::stop:
      return "stop";
    case GrowthEvent::Kind::add:
      return "add";
    case GrowthEvent::Kind::remove:
      return "remove";
  }
  return "unknown";
}

Json to_json(const GrowthEvent& event) {
  return Json::object({{"step", event.step},
                       {"layer", event.layer},
                       {"kind", to_string(event.kind)},
                       {"source", id(event.source)},
                       {"created", id(event.created)},
                       {"p_value", number(event.p_value)},
                       {"cosine", number(event.cosine)},
                       {"gain", number(event.gain)},
                       {"experts", event.experts}});
}

GrowthEvent growth_event_from_json(const Json& json) {
  return {kind_of(json.get<std::string>("kind")),
          json.get<int64_t>("step"),
          json.get<std::string>("layer"),
          id_of(json, "source"),
          id_of(json, "created"),
          number_of(json, "p_value"),
          number_of(json, "cosine"),
          number_of(json, "gain"),
          json.get<int64_t>("experts")};
}

}  // namespace offshoot
