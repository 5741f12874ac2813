// Findings of `offshoot-hmm paper`.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "tools/hmm/study/findings_parts.h"

namespace offshoot {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

const StudyCell* mass_of(const StudyResults& results) {
  if (const StudyCell* cell = results.find("mass-reference-p0.9-Kinit8")) return cell;
  return reference_of(results);
}

std::string loss_of(const StudyCell& cell) {
  return interval_text(estimate_of(cell, "test_loss"), 4, false);
}

// The bend of the curve at the middle of three sizes: how much less the second step brings.
double bend(const std::vector<double>& losses) {
  return (losses[0] - losses[1]) - (losses[1] - losses[2]);
}

void elbow(const StudyResults& results, std::vector<Finding>& findings) {
  Finding finding{FindingKind::paper, "The loss of fixed pools has its elbow near K 15",
                  Verdict::unclear, ""};
  std::vector<const StudyCell*> top2;
  std::vector<std::string> falls;
  for (const int64_t experts : {5, 10, 15, 20}) {
    top2.push_back(results.find(fmt::format("topk-K{}-k2", experts)));
    const StudyCell* before = top2.size() > 1 ? top2[top2.size() - 2] : nullptr;
    if (before == nullptr || top2.back() == nullptr) continue;
    falls.push_back(
        fmt::format("from K {} to {} {}", experts - 5, experts,
                    interval_text(cell_difference(*top2.back(), *before, "test_loss"), 4, true)));
  }
  if (falls.empty()) return;
  finding.text = fmt::format("The test loss of top-2 changes {}.", joined(falls));
  const auto at15 = estimate_over({top2.begin() + 1, top2.end()}, "test_loss", bend);
  const auto at10 = estimate_over({top2.begin(), top2.begin() + 3}, "test_loss", bend);
  const auto more = estimate_over(top2, "test_loss", [](const std::vector<double>& losses) {
    return bend({losses[1], losses[2], losses[3]}) - bend({losses[0], losses[1], losses[2]});
  });
  if (at10 && at15 && more) {
    finding.text += fmt::format(
        " The bend, what a step of five brings less than the one before it, is {} at K 10 and {} "
        "at K 15.",
        interval_text(*at10, 4, true), interval_text(*at15, 4, true));
    if (below(*more)) {
      finding.verdict = Verdict::fails;
      finding.text += " The curve bends at 10, not at 15.";
    } else if (above(*at15) && above(*more)) {
      finding.verdict = Verdict::holds;
      finding.text += " The curve bends at 15, and more than at 10.";
    } else {
      finding.text += " Which of the two is the elbow is not told apart.";
    }
  } else {
    finding.text += " Not all of K 5, 10, 15 and 20 were run, so there is no elbow to judge.";
  }
  findings.push_back(finding);
}

void lands_near(const StudyResults& results, std::vector<Finding>& findings) {
  const StudyCell* mass = mass_of(results);
  if (mass == nullptr) return;
  const Estimate experts = estimate_of(*mass, "experts");
  if (experts.n == 0) return;
  // The paper calls its 12.4 near its 15: within 3.
  constexpr double kElbow = 15, kNear = 3;
  Finding finding{FindingKind::paper,
                  "MASS lands near the best fixed size in one run, without a search",
                  Verdict::unclear, ""};
  if (experts.n > 1 && experts.low >= kElbow - kNear && experts.high <= kElbow + kNear) {
    finding.verdict = Verdict::holds;
  } else if (experts.high < kElbow - kNear || experts.low > kElbow + kNear) {
    finding.verdict = Verdict::fails;
  }
  finding.text = fmt::format("{} ends with K {}; near the paper's elbow would be 12 to 18.",
                             quoted(*mass), interval_text(experts, 1, false));
  const StudyCell* best = nullptr;
  for (const StudyCell& cell : results.cells) {
    if (!cell.numbers.contains("experts") || !cell.numbers.contains("topk")) continue;
    const double loss = estimate_of(cell, "test_loss").mean;
    if (std::isfinite(loss) && (best == nullptr || loss < estimate_of(*best, "test_loss").mean)) {
      best = &cell;
    }
  }
  if (best != nullptr) {
    finding.text += fmt::format(
        " Its test loss is {}; against that of the best fixed top-k pool, {} with {}, it is {}.",
        loss_of(*mass), quoted(*best), loss_of(*best),
        compared_text(cell_difference(*mass, *best, "test_loss"), 4, "higher", "lower"));
  }
  double least = kNone, most = kNone;
  size_t cells = 0, near = 0;
  for (const StudyCell& cell : results.cells) {
    const double mean = estimate_of(cell, "experts").mean;
    if (!cell.name.starts_with("mass-") || !std::isfinite(mean)) continue;
    least = cells == 0 ? mean : std::min(least, mean);
    most = cells == 0 ? mean : std::max(most, mean);
    ++cells;
    near += std::abs(mean - kElbow) <= kNear ? 1 : 0;
  }
  if (cells > 1) {
    finding.text += fmt::format(
        " Over all {} configurations of MASS the mean K goes from {} to {}; {} lie within 12 to "
        "18.",
        cells, number_text(least, 1), number_text(most, 1), near);
  }
  findings.push_back(finding);
}

void against_dynmoe(const StudyResults& results, std::vector<Finding>& findings) {
  const StudyCell* mass = mass_of(results);
  const StudyCell* dynmoe = results.find("dynmoe-off");
  if (mass == nullptr || dynmoe == nullptr) return;
  const Estimate loss = cell_difference(*mass, *dynmoe, "test_loss");
  const Estimate active = cell_difference(*mass, *dynmoe, "active_experts");
  if (loss.n == 0) return;
  findings.push_back(
      {FindingKind::paper, "MASS reaches a lower loss than DynMoE", holds_below(loss),
       fmt::format("{} has a test loss of {}, DynMoE {}: {}.", quoted(*mass), loss_of(*mass),
                   loss_of(*dynmoe), compared_text(loss, 4, "higher", "lower"))});
  if (active.n == 0) return;
  findings.push_back(
      {FindingKind::paper, "MASS needs fewer active experts than DynMoE", holds_below(active),
       fmt::format("k is {} for {} and {} for DynMoE: {}. Their specialization by entity is {} and "
                   "{} nats.",
                   interval_text(estimate_of(*mass, "active_experts"), 2, false), quoted(*mass),
                   interval_text(estimate_of(*dynmoe, "active_experts"), 2, false),
                   compared_text(active, 2, "more", "fewer"),
                   interval_text(estimate_of(*mass, "jsd_entity"), 2, false),
                   interval_text(estimate_of(*dynmoe, "jsd_entity"), 2, false))});
}

void headline(const StudyResults& results, std::vector<Finding>& findings) {
  const StudyCell* mass = mass_of(results);
  if (mass == nullptr) return;
  Finding finding{FindingKind::paper, "Test loss 2.15, K 12.4, k 3.9", Verdict::holds, ""};
  std::vector<std::string> parts;
  for (const auto& [measure, name, value, decimals] :
       {std::tuple("test_loss", "test loss", 2.15, 2), std::tuple("experts", "K", 12.4, 1),
        std::tuple("active_experts", "k", 3.9, 1)}) {
    const Estimate ours = estimate_of(*mass, measure);
    if (ours.n == 0) continue;
    const bool inside = ours.low <= value && value <= ours.high;
    if (ours.n < 2 && finding.verdict == Verdict::holds) finding.verdict = Verdict::unclear;
    if (ours.n > 1 && !inside) finding.verdict = Verdict::fails;
    parts.push_back(fmt::format("{} {} where the paper has {}{}", name,
                                interval_text(ours, decimals + 1, false),
                                number_text(value, decimals),
                                ours.n < 2 ? ""
                                : inside   ? " (inside)"
                                           : " (outside)"));
  }
  if (parts.empty()) return;
  finding.text = fmt::format(
      "{}: {}. The paper's corpus was never published; on ours the exact floor is another, so "
      "losses compare only roughly.",
      quoted(*mass), joined(parts));
  findings.push_back(finding);
}

// --- what the independent study found -----------------------------------------------------------

void follows_initial(const StudyResults& results, std::vector<Finding>& findings) {
  std::map<std::string, std::map<double, const StudyCell*>> series;
  for (const StudyCell& cell : results.cells) {
    const auto initial = cell.numbers.find("initial_experts");
    const auto cut = cell.name.find("-Kinit");
    if (initial == cell.numbers.end() || cut == std::string::npos) continue;
    series[cell.name.substr(0, cut)][initial->second] = &cell;
  }
  std::vector<std::string> parts;
  size_t rising = 0, falling = 0, compared = 0;
  for (const auto& [name, cells] : series) {
    if (cells.size() < 2) continue;
    std::vector<std::string> initial, ends;
    for (const auto& [k, cell] : cells) {
      initial.push_back(number_text(k, 0));
      ends.push_back(number_text(estimate_of(*cell, "experts").mean, 1));
    }
    const Estimate change =
        cell_difference(*cells.rbegin()->second, *cells.begin()->second, "experts");
    ++compared;
    rising += above(change) ? 1 : 0;
    falling += below(change) ? 1 : 0;
    // "MASS paper, p 0.7" of "MASS paper, p 0.7, from 3".
    const std::string& label = cells.begin()->second->label;
    parts.push_back(fmt::format("{}: from {} experts to {}, last minus first {}",
                                label.substr(0, label.rfind(", ")), joined(initial), joined(ends),
                                interval_text(change, 1, true)));
  }
  if (parts.empty()) return;
  const Verdict verdict = rising == compared ? Verdict::holds
                          : falling > 0      ? Verdict::fails
                                             : Verdict::unclear;
  findings.push_back({FindingKind::independent, "K follows Kinit, on the same data", verdict,
                      "K at the end, by what the pool began with.", parts});
}

void schedule(const StudyResults& results, std::vector<Finding>& findings) {
  size_t runs = 0, twice = 0, beyond = 0;
  double first = 1, last = 0;
  for (const StudyCell& cell : results.cells) {
    if (!cell.name.starts_with("mass-reference")) continue;
    for (const StudyRun& run : cell.runs) {
      ++runs;
      std::set<int64_t> split;
      bool again = false;
      for (const GrowthEvent& event : run.events) {
        if (event.kind != GrowthEvent::Kind::expand) continue;
        const double share = static_cast<double>(event.step) /
                             static_cast<double>(std::max<int64_t>(results.steps, 1));
        first = std::min(first, share);
        last = std::max(last, share);
        again = again || split.contains(event.source);
        split.insert({event.source, event.created});
      }
      twice += again ? 1 : 0;
      beyond += run.measure("experts") > 2 * static_cast<double>(run.initial_experts) ? 1 : 0;
    }
  }
  if (runs == 0) return;
  std::string text = fmt::format(
      "Of {} runs of the preset reference, {} split an expert (or its copy) a second time, and {} "
      "end with more than 2 Kinit experts.",
      runs, twice, beyond);
  if (first <= last) {
    text += fmt::format(" All expansions lie between {} and {} of training.", share_text(first),
                        share_text(last));
  }
  findings.push_back(
      {FindingKind::independent,
       "Under the reference schedule no expert splits twice and K stays within 2 Kinit",
       twice == 0 && beyond == 0 ? Verdict::holds : Verdict::fails, text});
}

void size_and_mass(const StudyResults& results, std::vector<Finding>& findings) {
  std::vector<std::string> parts;
  bool all = true;
  const auto add = [&](std::string_view what, const char* name, const char* against) {
    const StudyCell* cell = results.find(name);
    const StudyCell* other = results.find(against);
    if (cell == nullptr || other == nullptr) return;
    const Estimate change = cell_difference(*cell, *other, "test_loss");
    all = all && differs_from_zero(change);
    parts.push_back(fmt::format("{}: {}", what, interval_text(change, 4, true)));
  };
  add("top-2 with K 20 against K 5", "topk-K20-k2", "topk-K5-k2");
  add("MASS reference with p 0.9 against 0.7", "mass-reference-p0.9-Kinit8",
      "mass-reference-p0.7-Kinit8");
  if (parts.empty()) return;
  findings.push_back({FindingKind::independent, "K and p matter to the loss",
                      all ? Verdict::holds : Verdict::unclear,
                      fmt::format("Differences in test loss: {}.", joined(parts))});
}

}  // namespace

std::vector<Finding> paper_findings(const StudyResults& results) {
  std::vector<Finding> findings;
  elbow(results, findings);
  lands_near(results, findings);
  against_dynmoe(results, findings);
  headline(results, findings);
  follows_initial(results, findings);
  schedule(results, findings);
  size_and_mass(results, findings);
  return findings;
}

}  // namespace offshoot
