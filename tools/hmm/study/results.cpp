#include "tools/hmm/study/results.h"

#include <algorithm>
#include <limits>
#include <set>

namespace offshoot {

double StudyRun::measure(const std::string& name) const {
  const auto at = measures.find(name);
  return at == measures.end() ? std::numeric_limits<double>::quiet_NaN() : at->second;
}

std::vector<double> StudyCell::values(const std::string& measure) const {
  std::vector<double> found;
  for (const StudyRun& run : runs) found.push_back(run.measure(measure));
  return found;
}

const StudyCell* StudyResults::find(const std::string& cell) const {
  const auto at =
      std::ranges::find_if(cells, [&](const StudyCell& other) { return other.name == cell; });
  return at == cells.end() ? nullptr : &*at;
}

const StudyComparison* StudyResults::compared(const std::string& measure,
                                              const std::string& cell) const {
  const auto at = std::ranges::find_if(comparisons, [&](const StudyComparison& other) {
    return other.measure == measure && other.cell == cell;
  });
  return at == comparisons.end() ? nullptr : &*at;
}

void estimate_all(StudyResults& results) {
  for (StudyCell& cell : results.cells) {
    std::set<std::string> measures;
    for (const StudyRun& run : cell.runs) {
      for (const auto& [name, value] : run.measures) measures.insert(name);
    }
    cell.estimates.clear();
    for (const std::string& name : measures) cell.estimates[name] = estimate(cell.values(name));
  }
}

Estimate cell_difference(const StudyCell& cell, const StudyCell& against,
                         const std::string& measure) {
  std::vector<double> a, b;
  for (const StudyRun& run : cell.runs) {
    const auto other = std::ranges::find_if(
        against.runs, [&](const StudyRun& candidate) { return candidate.seed == run.seed; });
    if (other == against.runs.end()) continue;
    a.push_back(run.measure(measure));
    b.push_back(other->measure(measure));
  }
  return paired_difference(a, b);
}

void compare_all(StudyResults& results, const std::string& measure, const std::string& against) {
  const StudyCell* reference = results.find(against);
  if (reference == nullptr) return;
  for (const StudyCell& cell : results.cells) {
    if (&cell == reference) continue;
    results.comparisons.push_back(
        {measure, cell.name, against, cell_difference(cell, *reference, measure)});
  }
}

}  // namespace offshoot
