// A growth event as the report shows it.
#pragma once

#include "mass/growth_policy.h"
#include "tools/hmm/report.h"

namespace offshoot {

ReportEvent report_event(const GrowthEvent& event);

}  // namespace offshoot
