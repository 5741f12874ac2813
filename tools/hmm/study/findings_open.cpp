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

// "50.0% [12.4%, 87.6%]" of the stages.
std::string answered_text(const StudyCell& cell) {
  const Estimate e = estimate_of(cell, "answered");
  if (e.n < 2) return share_text(e.mean);
  // Of two or three seeds Student's interval may go beyond what a share can be.
  return fmt::format("{} [{}, {}]", share_text(e.mean), share_text(std::max(e.low, 0.0)),
                     share_text(std::min(e.high, 1.0)));
}

// --- drift --------------------------------------------------------------------------------------

// How often an expert is made where nothing arrives, beside where something does.
std::string control_text(const StudyResults& results) {
  const StudyCell* control = results.find("mass-reference-none");
  if (control == nullptr || !measured(*control, "answered")) {
    return " There is no run without arrivals beside it, so an answer may be chance.";
  }
  std::string text = fmt::format(" Where nothing arrives, {} makes one in {} of as many stages.",
                                 quoted(*control), answered_text(*control));
  std::vector<std::string> arms;
  for (const char* name : {"mass-reference-replay", "mass-reference-new"}) {
    const StudyCell* arm = results.find(name);
    if (arm == nullptr) continue;
    const Estimate change = cell_difference(*arm, *control, "answered");
    if (change.n == 0) continue;
    const bool equal = change.n > 1 && change.low == 0 && change.high == 0;
    arms.push_back(equal ? fmt::format("{} makes one as often", quoted(*arm))
                         : fmt::format("{} has a share {}", quoted(*arm),
                                       compared_text(change, 2, "higher", "lower")));
  }
  if (!arms.empty()) text += fmt::format(" Compared with that, {}.", joined(arms));
  return text;
}

void growth_in_stages(const StudyResults& results, std::vector<Finding>& findings) {
  std::vector<std::string> parts;
  for (const StudyCell& cell : results.cells) {
    if (!measured(cell, "experts_stage_1") || cell.name.starts_with("fixed")) continue;
    std::vector<std::string> experts;
    for (int64_t stage = 1; stage <= 3; ++stage) {
      experts.push_back(
          interval_text(estimate_of(cell, fmt::format("experts_stage_{}", stage)), 1, false));
    }
    std::string part = fmt::format("{}: K {}", cell.label, joined(experts));
    if (measured(cell, "answered")) {
      part += fmt::format(", an expert in {} of the later stages", answered_text(cell));
    }
    const Estimate reaction = estimate_of(cell, "reaction_steps");
    if (reaction.n > 0) part += fmt::format(", after {} steps", interval_text(reaction, 0, false));
    parts.push_back(part);
  }
  if (parts.empty()) return;
  open(findings, "Drift: does growth answer new concepts?",
       fmt::format("K at the ends of the stages, and the share of the later stages in which an "
                   "expert is made: any expert, whether for what arrived or not.{}",
                   control_text(results)),
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
  for (const char* name : {"fixed-replay", "fixed-new", "fixed-none"}) {
    const StudyCell* fixed = results.find(name);
    const StudyComparison* change = results.compared("forgetting", name);
    if (fixed == nullptr || change == nullptr || change->difference.n == 0) continue;
    const StudyCell* mass = results.find(change->against);
    text += fmt::format(" That of {}, a pool of the same final size, is {} against {}.",
                        quoted(*fixed), compared_text(change->difference, 3, "higher", "lower"),
                        mass == nullptr ? change->against : quoted(*mass));
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
                           interval_text(estimate_of(*same, "false_expansions"), 2, false));
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

// ", an edit 24 [20, 28] µs and 16.4 KiB copied"; empty where there was none.
std::string one_edit_text(const StudyCell& cell) {
  const Estimate each = estimate_of(cell, "edit_each_us");
  if (each.n == 0) return "";
  const Estimate bytes = estimate_of(cell, "expert_bytes");
  return fmt::format(
      ", an edit {} µs{}", interval_text(each, 0, false),
      bytes.n == 0 ? std::string() : fmt::format(" (an expert has {})", bytes_text(bytes.mean)));
}

void cost(const StudyResults& results, std::vector<Finding>& findings) {
  std::vector<std::string> times, bytes;
  for (const StudyCell& cell : results.cells) {
    const Estimate observe = ratio_of(cell, "observe_us", "step_us", 100);
    const Estimate edit = ratio_of(cell, "edit_us", "step_us", 100);
    if (observe.n > 0) {
      times.push_back(
          fmt::format("{}: observing {}%, deciding {}%, editing {}%{}", cell.label,
                      interval_text(observe, 2, false),
                      interval_text(ratio_of(cell, "decide_us", "step_us", 100), 2, false),
                      interval_text(edit, 2, false), one_edit_text(cell)));
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
         "Of the mean time of the steps in which the policy monitors, and what one edit takes:",
         times);
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

// "8 experts for 1 concept" by rising number of concepts.
std::vector<std::string> needed_of(const StudyResults& results) {
  std::map<double, std::string> by_concepts;
  for (const StudyCell& cell : results.cells) {
    const std::string experts = experts_needed_text(results, cell);
    if (experts.empty()) continue;
    const double concepts = number_in(cell, "concepts");
    by_concepts[concepts] = fmt::format(
        "{} {} for {}", experts, experts == "1" ? "expert" : "experts", concepts_text(concepts));
  }
  std::vector<std::string> texts;
  for (const auto& [concepts, text] : by_concepts) texts.push_back(text);
  return texts;
}

// K follows where it rises with the number of concepts, and by half as much at least.
constexpr double kFollows = 0.5;

std::pair<Verdict, const char*> follows(const Estimate& change, double concepts) {
  if (change.n < 2) return {Verdict::unclear, "With one seed nothing is told apart."};
  if (change.low >= kFollows * concepts) return {Verdict::holds, "K follows."};
  if (below(change)) return {Verdict::fails, "K falls."};
  if (change.high < kFollows * concepts) {
    return {Verdict::fails, above(change)
                                ? "K rises by more than the noise, but by less than half an "
                                  "expert for each concept."
                                : "K does not follow: that is less than half an expert for each "
                                  "concept, and not told apart from none."};
  }
  return {Verdict::unclear, above(change) ? "K rises; whether by half an expert for each concept "
                                            "is not told apart from noise."
                                          : "Whether K follows is not told apart from noise."};
}

void need_follows(const StudyFamily& family, std::vector<Finding>& findings) {
  std::map<double, const StudyCell*> cells;
  for (const StudyCell* cell : family.cells) {
    if (number_in(*cell, "experts") > 0 || !measured(*cell, "experts")) continue;
    cells[number_in(*cell, "concepts")] = cell;
  }
  if (cells.size() < 2) return;
  std::vector<std::string> parts;
  for (const auto& [concepts, cell] : cells) {
    parts.push_back(fmt::format("{}: K {}", concepts_text(concepts),
                                interval_text(estimate_of(*cell, "experts"), 1, false)));
  }
  const auto& [first, fewest] = *cells.begin();
  const auto& [last, most] = *cells.rbegin();
  const Estimate change = cell_difference(*most, *fewest, "experts");
  if (change.n == 0) return;
  const double added = last - first;
  const auto [verdict, text] = follows(change, added);
  const Estimate slope{change.n, change.mean / added, change.standard_error / added,
                       change.low / added, change.high / added};
  findings.push_back(
      {FindingKind::open,
       fmt::format("Need: the K of {} follows the number of concepts", family_title(family.name)),
       verdict,
       fmt::format("From {} to {} K changes by {}, {} for each added concept. {}",
                   concepts_text(first), concepts_text(last), interval_text(change, 1, true),
                   interval_text(slope, 2, true), text),
       parts});
}

void need(const StudyResults& results, std::vector<Finding>& findings) {
  const std::vector<std::string> sizes = needed_of(results);
  if (!sizes.empty()) {
    open(findings, "Need: how many experts does the data need?",
         "The smallest fixed pool with top-2 whose mean loss is within 0.01 nats of the best "
         "one's; \u201cor more\u201d where that is the largest tried. These sizes are of means "
         "and have no interval.",
         sizes);
  }
  for (const StudyFamily& family : families_of(results)) need_follows(family, findings);
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
