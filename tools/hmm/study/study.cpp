#include "tools/hmm/study/study.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "engine/error.h"
#include "tools/support/options.h"

namespace offshoot {

Flags::Flags(std::initializer_list<std::pair<std::string, std::string>> flags) {
  for (const auto& [flag, value] : flags) set(flag, value);
}

Flags Flags::parse(std::string_view text) {
  Flags flags;
  std::istringstream words{std::string(text)};
  for (std::string word; words >> word;) {
    if (word.starts_with("--")) {
      flags.set(word);
    } else if (flags.flags_.empty() || !flags.flags_.back().second.empty()) {
      throw UsageError(fmt::format("[offshoot-hmm] --flags: got {}, expected a flag", word));
    } else {
      flags.flags_.back().second = word;
    }
  }
  return flags;
}

Flags& Flags::set(std::string flag, std::string value) {
  const auto found = std::ranges::find(flags_, flag, &std::pair<std::string, std::string>::first);
  if (found != flags_.end()) {
    found->second = std::move(value);
  } else {
    flags_.emplace_back(std::move(flag), std::move(value));
  }
  return *this;
}

Flags& Flags::set(const Flags& others) {
  for (const auto& [flag, value] : others.flags_) set(flag, value);
  return *this;
}

const std::string* Flags::find(std::string_view flag) const {
  const auto found = std::ranges::find(flags_, flag, &std::pair<std::string, std::string>::first);
  return found == flags_.end() ? nullptr : &found->second;
}

std::string Flags::common(const Flags& others) const {
  for (const auto& [flag, value] : flags_) {
    if (others.find(flag) != nullptr) return flag;
  }
  return "";
}

std::vector<std::string> Flags::list() const {
  std::vector<std::string> all;
  for (const auto& [flag, value] : flags_) {
    all.push_back(flag);
    if (!value.empty()) all.push_back(value);
  }
  return all;
}

Flags StudySettings::base() const {
  Flags base;
  if (quick) {
    base = {{"--batch", "4"},      {"--seq", "16"},
            {"--d-model", "16"},   {"--heads", "2"},
            {"--hidden", "8"},     {"--documents", "12"},
            {"--warmup", "5"},     {"--document-length", "200"},
            {"--window", "6"},     {"--test-sequences", "8"},
            {"--alpha", "0.3"},    {"--delta", "0.1"},
            {"--phase-end", "20"}, {"--adapt-every", "8"}};
  }
  base.set("--steps", steps).set("--test-every", int64_t{0});
  return base.set(flags);
}

CellPlan plan_cell(const StudySettings& settings, std::string name, std::string label,
                   std::string family, const Flags& flags, std::map<std::string, double> numbers) {
  CellPlan plan;
  plan.refused = settings.flags.common(flags);
  plan.cell.name = std::move(name);
  plan.cell.label = std::move(label);
  plan.cell.family = std::move(family);
  plan.cell.flags = settings.base().set(flags).list();
  plan.cell.numbers = std::move(numbers);
  for (int64_t seed = 0; seed < settings.seeds; ++seed) {
    Trial trial;
    trial.cell = plan.cell.name;
    trial.seed = seed;
    trial.flags = plan.cell.flags;
    plan.trials.push_back(std::move(trial));
  }
  return plan;
}

std::span<const Study> studies() {
  static const std::array<Study, 6> all{kPaperStudy, kAblateStudy,   kDriftStudy,
                                        kNoiseStudy, kOverheadStudy, kNeedStudy};
  return all;
}

}  // namespace offshoot
