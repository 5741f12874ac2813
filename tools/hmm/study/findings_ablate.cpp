// Findings of `offshoot-hmm ablate`.
#include <algorithm>
#include <cmath>

#include "tools/hmm/study/findings_parts.h"

namespace offshoot {
namespace {

// Removing an ingredient does nothing worth the name when its interval lies within this, nats:
// half of what two corpora of the same model differ by.
constexpr double kNegligible = 0.01;
// What the independent study found the largest change to be, nats.
constexpr double kIndependent = 0.006;

struct Change {
  const StudyCell* cell;
  Estimate loss;
};

std::vector<Change> changes_in(const StudyResults& results, const std::string& family) {
  std::vector<Change> changes;
  for (const StudyCell& cell : results.cells) {
    const StudyComparison* loss = results.compared("test_loss", cell.name);
    if (cell.family != family || loss == nullptr || loss->difference.n == 0) continue;
    changes.push_back({&cell, loss->difference});
  }
  return changes;
}

std::string listed(const std::vector<Change>& changes, bool (*chosen)(const Estimate&)) {
  std::vector<std::string> parts;
  for (const Change& change : changes) {
    if (!chosen(change.loss)) continue;
    parts.push_back(
        fmt::format("{} ({})", change.cell->label, interval_text(change.loss, 4, true)));
  }
  return joined(parts);
}

bool negligible(const Estimate& e) {
  return !differs_from_zero(e) && e.low >= -kNegligible && e.high <= kNegligible;
}

bool open_still(const Estimate& e) { return !differs_from_zero(e) && !negligible(e); }

// In place of top-p: the router is another, no ingredient of growth is removed.
bool is_routing(const StudyCell& cell) { return cell.name.starts_with("top-"); }

void every_ingredient(const StudyResults& results, std::vector<Finding>& findings) {
  const std::vector<Change> changes = changes_in(results, "ingredients");
  if (changes.empty()) return;
  Finding finding{FindingKind::paper, "Every ingredient of MASS matters", Verdict::holds, ""};
  finding.text = "Test loss without it, or with what stands in its place, minus that of the whole.";
  const auto say = [&](std::string_view what, bool (*chosen)(const Estimate&)) {
    const std::string list = listed(changes, chosen);
    if (!list.empty()) finding.items.push_back(fmt::format("{}: {}.", what, list));
  };
  say("The loss rises by more than the noise", above);
  say("The loss falls by more than the noise", below);
  say("It changes by at most 0.01 nats, and not by more than the noise", negligible);
  say("Cannot be told", open_still);
  for (const Change& change : changes) {
    if (below(change.loss) || negligible(change.loss)) finding.verdict = Verdict::fails;
    if (open_still(change.loss) && finding.verdict == Verdict::holds) {
      finding.verdict = Verdict::unclear;
    }
  }
  findings.push_back(finding);
}

void small_changes(const StudyResults& results, std::vector<Finding>& findings) {
  std::vector<Change> changes = changes_in(results, "ingredients");
  std::erase_if(changes, [](const Change& change) { return is_routing(*change.cell); });
  if (changes.empty()) return;
  std::ranges::stable_sort(changes, [](const Change& a, const Change& b) {
    return std::abs(a.loss.mean) > std::abs(b.loss.mean);
  });
  const auto within = [](const Change& c) { return std::abs(c.loss.mean) < kIndependent; };
  const auto count = std::ranges::count_if(changes, within);
  Finding finding{FindingKind::independent,
                  "Removing a single ingredient changes the loss by less than 0.006",
                  Verdict::holds, ""};
  for (const Change& change : changes) {
    const bool beyond = change.loss.low > kIndependent || change.loss.high < -kIndependent;
    const bool surely = change.loss.low > -kIndependent && change.loss.high < kIndependent;
    if (beyond) finding.verdict = Verdict::fails;
    if (!surely && finding.verdict == Verdict::holds) finding.verdict = Verdict::unclear;
  }
  finding.text = fmt::format(
      "Routing, which is said to matter, left out. {} of {} ingredients have a mean change below "
      "it; the largest is that of {}, {}. It holds where every interval lies within it.",
      count, changes.size(), changes.front().cell->label,
      interval_text(changes.front().loss, 4, true));
  findings.push_back(finding);
}

// Differences of some cells in some measures, as one sentence.
std::string measures_of(const StudyResults& results, const std::string& cell) {
  std::vector<std::string> parts;
  for (const auto& [measure, name, decimals] :
       {std::tuple("test_loss", "loss", 4), std::tuple("experts", "K", 2),
        std::tuple("active_experts", "k", 2), std::tuple("jsd_entity", "JSD by entity", 3)}) {
    const StudyComparison* found = results.compared(measure, cell);
    if (found == nullptr || found->difference.n == 0) continue;
    parts.push_back(fmt::format("{} {}{}", name, interval_text(found->difference, decimals, true),
                                differs_from_zero(found->difference) ? " (more than noise)" : ""));
  }
  return joined(parts);
}

// Whether the loss without an ingredient stays within kNegligible of the whole's. What is measured
// is how runs end, not what the ingredient does at the steps at which it acts.
void leaving_out(const StudyResults& results, const std::string& name, std::string_view what,
                 std::vector<Finding>& findings) {
  const StudyCell* cell = results.find(name);
  const StudyComparison* loss = results.compared("test_loss", name);
  if (cell == nullptr || loss == nullptr || loss->difference.n == 0) return;
  const Estimate& e = loss->difference;
  const StudyCell* reference = reference_of(results);
  findings.push_back(
      {FindingKind::independent,
       fmt::format("Leaving out {} changes the loss by at most 0.01", what),
       e.low >= -kNegligible && e.high <= kNegligible ? Verdict::holds
       : e.low > kNegligible || e.high < -kNegligible ? Verdict::fails
                                                      : Verdict::unclear,
       fmt::format("{} against {} at the end of training: {}. How it acts on the way there is not "
                   "measured.",
                   quoted(*cell), reference == nullptr ? loss->against : quoted(*reference),
                   measures_of(results, name))});
}

// The reference's newborns have zero moments under an old step count.
void moments(const StudyResults& results, std::vector<Finding>& findings) {
  const StudyComparison* inherited = results.compared("jsd_entity", "newborn-inherit");
  if (inherited == nullptr || inherited->difference.n == 0) return;
  Finding finding{
      FindingKind::independent,
      "With inherited moments runs end less specialized than with a newborn's zero ones",
      holds_below(inherited->difference),
      fmt::format("JSD by entity at the end of training is {} with inherited moments. How far "
                  "newborns move right after a split is not measured.",
                  compared_text(inherited->difference, 3, "higher", "lower"))};
  for (const char* name : {"newborn-inherit", "newborn-fresh"}) {
    const StudyCell* cell = results.find(name);
    if (cell == nullptr) continue;
    finding.items.push_back(fmt::format("{}: {}", cell->label, measures_of(results, name)));
  }
  findings.push_back(finding);
}

void controls(const StudyResults& results, std::vector<Finding>& findings) {
  const std::vector<Change> changes = changes_in(results, "controls");
  if (changes.empty()) return;
  const bool all = std::ranges::all_of(changes, [](const Change& c) { return above(c.loss); });
  const bool none = std::ranges::none_of(changes, [](const Change& c) { return above(c.loss); });
  std::vector<std::string> parts;
  for (const Change& change : changes) {
    parts.push_back(fmt::format("{}: {}", change.cell->label,
                                compared_text(change.loss, 4, "higher", "lower")));
  }
  const std::string verdict = all    ? "MASS beats every one of them by more than the noise."
                              : none ? "MASS beats none of them by more than the noise."
                                     : "MASS beats some of them by more than the noise.";
  findings.push_back(
      {FindingKind::open, "Does it matter whom and when MASS splits? Pools of the same final size",
       Verdict::found, fmt::format("{} Test loss against that of MASS:", verdict), parts});
}

// What K a sweep comes to, and whether its ends differ.
void sweep(const StudyResults& results, const std::string& family, std::vector<Finding>& findings) {
  std::vector<const StudyCell*> cells;
  for (const StudyCell& cell : results.cells) {
    if (cell.family == family && cell.numbers.contains("value")) cells.push_back(&cell);
  }
  if (cells.size() < 2) return;
  std::ranges::stable_sort(cells, {}, [](const auto* c) { return c->numbers.at("value"); });
  std::vector<std::string> parts;
  for (const StudyCell* cell : cells) {
    parts.push_back(fmt::format("{}: K {}, loss {}", cell->label,
                                interval_text(estimate_of(*cell, "experts"), 1, false),
                                interval_text(estimate_of(*cell, "test_loss"), 4, false)));
  }
  const Estimate experts = cell_difference(*cells.back(), *cells.front(), "experts");
  const Estimate loss = cell_difference(*cells.back(), *cells.front(), "test_loss");
  findings.push_back({FindingKind::open,
                      fmt::format("What does the {} decide?",
                                  family == "Kinit" ? "initial number of experts" : family),
                      Verdict::found,
                      fmt::format("From its least to its greatest value K is {}, the loss {}.",
                                  compared_text(experts, 1, "higher", "lower"),
                                  compared_text(loss, 4, "higher", "lower")),
                      parts});
}

}  // namespace

std::vector<Finding> ablate_findings(const StudyResults& results) {
  std::vector<Finding> findings;
  every_ingredient(results, findings);
  small_changes(results, findings);
  leaving_out(results, "clone", "the gradient decomposition", findings);
  moments(results, findings);
  leaving_out(results, "no-lred", "the redundancy loss", findings);
  controls(results, findings);
  for (const char* family : {"delta", "alpha", "window", "warm-up", "Kinit"}) {
    sweep(results, family, findings);
  }
  return findings;
}

}  // namespace offshoot
