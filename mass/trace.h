// Growth events as JSON, one object each: what logs, result files and reports hold.
#pragma once

#include "engine/json.h"
#include "mass/growth_policy.h"

namespace offshoot {

// {"step", "layer", "kind", "source", "created", "p_value", "cosine", "gain", "experts"}; null
// where there is none.
Json to_json(const GrowthEvent& event);

// The inverse. Throws Error naming the member that is missing or of another type.
GrowthEvent growth_event_from_json(const Json& json);

}  // namespace offshoot
