// The studies' results as their pages meet them, made up: cells named as the real ones.
#pragma once

#include <string>

#include "tools/hmm/study/results.h"

namespace offshoot::testing {

// `study`: paper, ablate, drift, noise, overhead or need. Estimates and comparisons are filled in.
StudyResults demo_study(const std::string& study, int64_t seeds = 5);

}  // namespace offshoot::testing
