// A study's table: cells in blocks by family, one row each. On a terminal at most 100 columns wide;
// on a page with all the figures.
#pragma once

#include <string>
#include <vector>

#include "tools/hmm/study/results.h"
#include "tools/support/html.h"
#include "tools/support/terminal.h"

namespace offshoot {

// "1.8864 ±0.0061", the mean and half of its 95% interval; only the mean where there is none.
std::string estimate_text(const Estimate& estimate, int decimals);

// "−0.0123 [−0.0201, −0.0045]", the 95% interval behind the mean; only the mean where there is
// none. `with_sign`: a plus before what is above 0.
std::string interval_text(const Estimate& estimate, int decimals, bool with_sign);

// NaN in all where the cell has no such measure.
Estimate estimate_of(const StudyCell& cell, const std::string& measure);

// Of unit * part / whole, run by run; without a name for `whole`, of unit * part.
Estimate ratio_of(const StudyCell& cell, const std::string& part, const std::string& whole,
                  double unit = 1);

// "8", or "20 or more" where no larger pool was tried on as many concepts; empty where the cell
// says nothing of experts that are needed.
std::string experts_needed_text(const StudyResults& results, const StudyCell& cell);

// A family's name as a title: "top-k" for "topk"; unknown ones as they are.
std::string family_title(const std::string& family);

// Whether a cell of the study of drift is a control, whose data stay the same.
bool nothing_arrives(const StudyCell& cell);

// Families in the order in which they first appear, each with its cells.
struct StudyFamily {
  std::string name;
  std::vector<const StudyCell*> cells;
};
std::vector<StudyFamily> families_of(const StudyResults& results);

// What test losses are compared with, or else what anything is; the first where there are several,
// null where nothing is compared.
const StudyCell* reference_of(const StudyResults& results);

// The table in text, with a line of explanation below it; ends in a newline.
std::string study_table(const StudyResults& results, const Terminal& terminal);

// The <table>s, each in an element that scrolls, and the explanation.
void write_study_table(Markup& page, const StudyResults& results);

}  // namespace offshoot
