// The page of a study: one HTML file without scripts and without anything fetched.
#pragma once

#include <string>

#include "tools/hmm/study/results.h"

namespace offshoot {

std::string study_page(const StudyResults& results);

}  // namespace offshoot
