// offshoot-hmm paper, ablate, drift, noise, overhead, need: a study from the command line to its
// page.
#pragma once

#include <string>

#include "tools/hmm/study/study.h"

namespace offshoot {

// Null where there is none of that name.
const Study* find_study(std::string_view name);

// `argv` without the study's name. Writes results.json and page.html, and each run as it ends, so
// that the same command goes on where it was stopped. Returns the exit status; throws UsageError
// and Error.
int run_study(const Study& study, int argc, const char* const* argv, const std::string& command);

// offshoot-hmm findings: the page that studies' results come to. `argv` without the name.
int run_findings(int argc, const char* const* argv);

}  // namespace offshoot
