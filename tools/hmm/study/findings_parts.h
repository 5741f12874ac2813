// What the findings of the studies share. Only findings*.cpp includes this.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/hmm/study/findings.h"
#include "tools/hmm/study/tables.h"

namespace offshoot {

std::vector<Finding> paper_findings(const StudyResults& results);
std::vector<Finding> ablate_findings(const StudyResults& results);
std::vector<Finding> drift_findings(const StudyResults& results);
std::vector<Finding> noise_findings(const StudyResults& results);
std::vector<Finding> overhead_findings(const StudyResults& results);
std::vector<Finding> need_findings(const StudyResults& results);

// Estimates a figure of several cells seed by seed, over the seeds that all have: `figure` gets the
// measure of each cell, in their order. Empty when a cell is null.
std::optional<Estimate> estimate_over(
    const std::vector<const StudyCell*>& cells, const std::string& measure,
    const std::function<double(const std::vector<double>&)>& figure);

inline bool above(const Estimate& e) { return e.low > 0; }
inline bool below(const Estimate& e) { return e.high < 0; }

// holds above 0, fails below, else unclear; the other way round for holds_below.
Verdict holds_above(const Estimate& e);
Verdict holds_below(const Estimate& e);

// "by 0.0123 [0.0045, 0.0201]", and in words whether that is more than noise.
std::string by_text(const Estimate& e, int decimals);

// A cell by its label, in quotation marks: labels have commas.
std::string quoted(const StudyCell& cell);

// "a, b and c".
std::string joined(const std::vector<std::string>& parts);

// "loss, lower": a sentence's piece "lower by 0.012 [..]", "higher by ..." or "not told apart from
// noise (+0.001 [..])".
std::string compared_text(const Estimate& e, int decimals, std::string_view higher,
                          std::string_view lower);

}  // namespace offshoot
