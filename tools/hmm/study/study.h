// A study: which cells it runs, in which order, and what it makes of them. The six of offshoot-hmm
// are one file each.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/hmm/study/results.h"
#include "tools/hmm/study/trial.h"

namespace offshoot {

// Flags of offshoot-hmm in order, each once; a switch has no value.
class Flags {
 public:
  Flags() = default;
  Flags(std::initializer_list<std::pair<std::string, std::string>> flags);
  // "--documents 50 --eot". Throws UsageError for a value without a flag.
  static Flags parse(std::string_view text);

  Flags& set(std::string flag, std::string value = "");
  Flags& set(std::string flag, int64_t value) {
    return set(std::move(flag), std::to_string(value));
  }
  Flags& set(const Flags& others);
  // Null where it is not given.
  const std::string* find(std::string_view flag) const;
  std::vector<std::string> list() const;
  // The first flag that both have; empty: none.
  std::string common(const Flags& others) const;

 private:
  std::vector<std::pair<std::string, std::string>> flags_;
};

struct StudySettings {
  int64_t seeds = 5;  // 0 .. seeds - 1
  int64_t steps = 3000;
  bool quick = false;  // a model so small that the whole study takes seconds, to see that all works
  Flags flags;         // the user's, for every run

  // What all runs begin with: steps, the user's flags and, where quick, the small model.
  Flags base() const;
};

// A cell and its trials, one a seed.
struct CellPlan {
  StudyCell cell;
  std::vector<Trial> trials;
  std::string refused = {};  // a flag of the user's that the cell sets itself
};

// A cell whose trials differ in nothing but the seed. `flags` go on top of settings.base().
CellPlan plan_cell(const StudySettings& settings, std::string name, std::string label,
                   std::string family, const Flags& flags, std::map<std::string, double> numbers);

struct Study {
  const char* name;
  const char* title;
  const char* question;  // what it wants to know; a sentence or two
  int64_t seeds;         // by default
  int64_t steps;
  bool alone;  // measures times: one run at a time
  std::vector<CellPlan> (*plan)(const StudySettings&);
  // More cells, which depend on what the first came to; may be null.
  std::vector<CellPlan> (*then)(const StudySettings&, const StudyResults&);
  // Measures of the study's own and comparisons; estimates follow.
  void (*finish)(const StudySettings&, StudyResults&);
};

// paper, ablate, drift, noise, overhead, need.
std::span<const Study> studies();

extern const Study kPaperStudy, kAblateStudy, kDriftStudy, kNoiseStudy, kOverheadStudy, kNeedStudy;

}  // namespace offshoot
