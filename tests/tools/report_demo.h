// A run as the report meets it, made up: 8 experts that become 12 within 3,000 steps, with two
// rejected on the way.
#pragma once

#include "tools/hmm/report.h"

namespace offshoot::testing {

ReportData demo_report(int64_t steps = 3000, int64_t layers = 1);

}  // namespace offshoot::testing
