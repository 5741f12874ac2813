// The report's data as JSON, so that a checkpoint can keep them. What is not known is null; no bit
// of a number is lost.
#pragma once

#include "engine/json.h"
#include "tools/hmm/report.h"

namespace offshoot {

// All but the provenance, in which alone two equal runs differ.
Json report_json(const ReportData& data);
Json report_provenance_json(const ReportProvenance& provenance);

// The inverses. Throw Error naming the member that is missing or of another type.
ReportData report_from_json(const Json& data, const Json& provenance);

}  // namespace offshoot
