// What the studies' numbers say, in sentences that the numbers choose: about the claims of the MASS
// paper (arXiv 2512.19765), about what an independent study of it found, and about open questions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/hmm/study/results.h"

namespace offshoot {

enum class Verdict {
  holds,
  fails,
  unclear,  // no interval, or one that leaves both open
  found,    // no claim to judge
};
std::string_view to_string(Verdict verdict);

enum class FindingKind { paper, independent, open };

struct Finding {
  FindingKind kind = FindingKind::open;
  std::string question = {};
  Verdict verdict = Verdict::found;
  std::string text = {};                // plain sentences
  std::vector<std::string> items = {};  // a list below them
};

// What this study has to say; nothing about what its cells do not hold.
std::vector<Finding> findings_of(const StudyResults& results);

// FINDINGS.md: any subset of the studies, in any order.
std::string findings_markdown(const std::vector<StudyResults>& studies);

}  // namespace offshoot
