// Checkpoints to look into.
#pragma once

#include <string>

#include "tests/tools/hmm_run.h"
#include "tools/hmm/report.h"

namespace offshoot::testing {

// Trains a quick run of 40 steps, with growth, to its end and saves it as offshoot-hmm does, report
// and all. Returns what the report shows.
ReportData save_finished_run(const std::string& path, QuickRun& run);

}  // namespace offshoot::testing
