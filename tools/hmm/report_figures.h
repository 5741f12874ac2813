// The two pictures that only a growing mixture has: how a layer grew, and what its experts do.
#pragma once

#include <string>

#include "tools/hmm/report.h"

namespace offshoot {

// K over steps, a lane of marks per kind of event, and the lineage as a tree, above one another on
// one step axis, which is stretched where the events are when they fill little of the run. Empty
// text when the layer has neither newborns nor events.
std::string growth_figure(const ReportData& data, const ReportLayer& layer);

// True when growth_figure stretches its axis.
bool growth_is_focused(const ReportData& data, const ReportLayer& layer);

// Rows = experts by id: combine weight by entity and by property, and share of tokens. Empty text
// without routing.
std::string routing_figure(const ReportLayer& layer);

}  // namespace offshoot
