// Findings of `offshoot-hmm drift`, `noise`, `overhead` and `need`: questions without a claim.
#include <algorithm>
#include <cmath>
#include <map>

#include "tools/hmm/study/findings_parts.h"

namespace offshoot {
namespace {

double number_in(const StudyCell& cell, const std::string& name) {
  const auto at = cell.numbers.find(name);
  return at == cell.numbers.end() ? std::nan("") : at->second;
}

bool measured(const StudyCell& cell, const std::string& measure) {
  return estimate_of(cell, measure).n > 0;
}

void open(std::vector<Finding>& findings, std::string question, std::string text,
          std::vector<std::string> items = {}) {
  findings.push_back(
      {FindingKind::open, std::move(question), Verdict::found, std::move(text), std::move(items)});
}

// --- drift --------------------------------------------------------------------------------------

void growth_in_stages(const StudyResults& results, std::vector<Finding>& findings) {
  std::vector<std::string> parts;
  for (const StudyCell& cell : results.cells) {
    if (!measured(cell, "experts_stage_1") || cell.name.starts_with("fixed")) continue;
    std::vector<std::string> experts;
    for (int64_t stage = 1; stage <= 3; ++stage) {
      experts.push_back(
          number_text(estimate_of(cell, fmt::format("experts_stage_{}", stage)).mean, 1));
    }
    std::string part = fmt::format("{}: K {}", cell.label, joined(experts));
    if (measured(cell, "answered")) {
      part += fmt::format(", {} of the arrivals answered",
                          share_text(estimate_of(cell, "answered").mean));
    }
    const Estimate reaction = estimate_of(cell, "reaction_steps");
    if (reaction.n > 0) part += fmt::format(", after {} steps", number_text(reaction.mean, 0));
    parts.push_back(part);
  }
  if (parts.empty()) return;
  open(findings, "Drift: does growth answer new concepts?",
       "K at the ends of the stages, and the share of arrivals behind which an expert is made.",
       parts);
}

void forgetting(const StudyResults& results, std::vector<Finding>& findings) {
  std::vector<std::string> parts;
  for (const StudyCell& cell : results.cells) {
    if (!measured(cell, "forgetting")) continue;
    parts.push_back(
        fmt::format("{}: {}", cell.label, interval_text(estimate_of(cell, "forgetting"), 3, true)));
  }
  if (parts.empty()) return;
  std::string text = "Change of the first concepts' loss from the end of their stage to the end.";
  for (const std::string regime : {"replay", "new"}) {
    const StudyCell* mass = results.find("mass-reference-" + regime);
    const StudyCell* fixed = results.find("fixed-" + regime);
    if (mass == nullptr || fixed == nullptr) continue;
    const Estimate change = cell_difference(*mass, *fixed, "forgetting");
    if (change.n == 0) continue;
    text += fmt::format(" Against a fixed pool of the same final size, that of {} is {}.",
                        quoted(*mass), compared_text(change, 3, "higher", "lower"));
  }
  open(findings, "Drift: are early concepts forgotten?", text, parts);
}

// --- noise --------------------------------------------------------------------------------------

// "2 of 5 runs", of a measure that is 0 or 1.
std::string runs_text(const Estimate& share) {
  return fmt::format("{} of {} run{}", std::lround(share.mean * static_cast<double>(share.n)),
                     share.n, share.n == 1 ? "" : "s");
}

void detection(const StudyResults& results, std::vector<Finding>& findings) {
  for (const StudyFamily& family : families_of(results)) {
    std::map<double, std::pair<const StudyCell*, const StudyCell*>> by_value;
    for (const StudyCell* cell : family.cells) {
      const double value = number_in(*cell, "value");
      if (!std::isfinite(value)) continue;
      auto& [same, shifted] = by_value[value];
      (number_in(*cell, "shift") == 1 ? shifted : same) = cell;
    }
    std::vector<std::string> parts;
    for (const auto& [value, cells] : by_value) {
      const auto& [same, shifted] = cells;
      std::string part;
      if (same != nullptr && measured(*same, "false_expansions")) {
        part = fmt::format(" {} false expansions in 100 steps",
                           number_text(estimate_of(*same, "false_expansions").mean, 2));
      }
      if (shifted != nullptr && measured(*shifted, "missed")) {
        part += fmt::format("{} concepts missed in {}", part.empty() ? "" : ",",
                            runs_text(estimate_of(*shifted, "missed")));
        if (same != nullptr && measured(*same, "hit")) {
          const Estimate hit = estimate_of(*same, "hit");
          part += fmt::format(" (without new ones, no expansion then either in {})",
                              runs_text({hit.n, 1 - hit.mean, 0, 0, 0}));
        }
      }
      if (!part.empty()) parts.push_back(fmt::format("{} {}:{}", family.name, value, part));
    }
    if (parts.empty()) continue;
    std::string text;
    const StudyCell* least = by_value.begin()->second.first;
    const StudyCell* most = by_value.rbegin()->second.first;
    if (by_value.size() > 1 && least != nullptr && most != nullptr) {
      const Estimate change = cell_difference(*most, *least, "false_expansions");
      if (change.n > 0) {
        text = fmt::format("From the least value to the greatest, false expansions are {}.",
                           compared_text(change, 2, "more", "fewer"));
      }
    }
    open(findings, fmt::format("Noise: false and missed expansions over the {}", family.name), text,
         parts);
  }
}

// --- overhead -----------------------------------------------------------------------------------

void cost(const StudyResults& results, std::vector<Finding>& findings) {
  std::vector<std::string> times, bytes;
  for (const StudyCell& cell : results.cells) {
    const double step = estimate_of(cell, "step_us").mean;
    if (step > 0) {
      const double edit = estimate_of(cell, "edit_us").mean;
      const double watch =
          estimate_of(cell, "observe_us").mean + estimate_of(cell, "decide_us").mean;
      times.push_back(fmt::format("{}: {} watching and deciding, {} editing", cell.label,
                                  share_text(watch / step), share_text(edit / step)));
    }
    const double rest =
        estimate_of(cell, "model_bytes").mean + estimate_of(cell, "optimizer_bytes").mean;
    const double kept = estimate_of(cell, "window_bytes").mean;
    if (rest > 0 && std::isfinite(kept)) {
      bytes.push_back(
          fmt::format("{}: {}, {}", cell.label, bytes_text(kept), share_text(kept / rest)));
    }
  }
  if (!times.empty()) {
    open(findings, "Overhead: which share of a step do monitoring and growth take?",
         "Of a step in the phase, means over its steps.", times);
  }
  if (!bytes.empty()) {
    open(findings, "Overhead: how many bytes does monitoring keep?",
         "Beside what model and optimizer hold.", bytes);
  }
}

// --- need ---------------------------------------------------------------------------------------

std::string concepts_text(double concepts) {
  return fmt::format("{} concept{}", concepts, concepts == 1 ? "" : "s");
}

void need(const StudyResults& results, std::vector<Finding>& findings) {
  std::map<double, double> needed;
  std::vector<std::string> sizes;
  for (const StudyCell& cell : results.cells) {
    const double experts = number_in(cell, "experts_needed");
    if (!std::isfinite(experts)) continue;
    needed[number_in(cell, "concepts")] = experts;
    sizes.push_back(fmt::format("{}: {} experts", cell.label, number_text(experts, 0)));
  }
  if (!sizes.empty()) {
    open(findings, "Need: how many experts does the data need?",
         "Of fixed pools with top-2:", sizes);
  }
  for (const StudyFamily& family : families_of(results)) {
    std::map<double, const StudyCell*> cells;
    for (const StudyCell* cell : family.cells) {
      if (number_in(*cell, "experts") > 0 || !measured(*cell, "experts")) continue;
      cells[number_in(*cell, "concepts")] = cell;
    }
    if (cells.size() < 2) continue;
    std::vector<std::string> parts;
    for (const auto& [concepts, cell] : cells) {
      parts.push_back(fmt::format("K {} for {}",
                                  interval_text(estimate_of(*cell, "experts"), 1, false),
                                  concepts_text(concepts)));
    }
    const Estimate change =
        cell_difference(*cells.rbegin()->second, *cells.begin()->second, "experts");
    const double first = cells.begin()->first, last = cells.rbegin()->first;
    std::string text =
        fmt::format("From {} to {} K is {}.", concepts_text(first), concepts_text(last),
                    compared_text(change, 1, "higher", "lower"));
    if (needed.contains(first) && needed.contains(last)) {
      const double asked = needed[last] - needed[first];
      text += fmt::format(" The data ask for a change of {}.", signed_text(asked, 0));
      if (asked > 0 && change.n > 1) {
        const bool small = change.high < 0.5 * asked;
        text += change.low > 0.5 * asked ? " K follows."
                : above(change) && small ? " K rises, but by less than half of that."
                : above(change) ? " K rises; whether by half of that is not told apart from noise."
                : small         ? " K does not follow."
                                : " Whether K follows is not told apart from noise.";
      }
    }
    open(findings, fmt::format("Need: does the K of {} follow?", family_title(family.name)), text,
         parts);
  }
}

}  // namespace

std::vector<Finding> drift_findings(const StudyResults& results) {
  std::vector<Finding> findings;
  growth_in_stages(results, findings);
  forgetting(results, findings);
  return findings;
}

std::vector<Finding> noise_findings(const StudyResults& results) {
  std::vector<Finding> findings;
  detection(results, findings);
  return findings;
}

std::vector<Finding> overhead_findings(const StudyResults& results) {
  std::vector<Finding> findings;
  cost(results, findings);
  return findings;
}

std::vector<Finding> need_findings(const StudyResults& results) {
  std::vector<Finding> findings;
  need(results, findings);
  return findings;
}

}  // namespace offshoot
