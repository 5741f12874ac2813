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

// Of the bends at 10 and 15, and how much larger that at 15 is.
std::pair<Verdict, const char*> where_it_bends(const Estimate& at10, const Estimate& at15,
                                               const Estimate& more) {
  if (below(at15)) return {Verdict::fails, " The loss falls faster behind 15: no elbow is there."};
  if (above(at15) && above(more)) {
    return {Verdict::holds, " The curve bends at 15, and more than at 10."};
  }
  if (above(at10) && above(at15)) {
    if (below(more)) return {Verdict::fails, " The curve bends at both, and more at 10."};
    return {Verdict::unclear, " The curve bends at both; where more is not told apart."};
  }
  if (above(at10)) {
    if (below(more)) return {Verdict::fails, " The curve bends at 10, not at 15."};
    return {Verdict::unclear, " The curve bends at 10; whether at 15 is not told apart."};
  }
  if (above(at15)) {
    return {Verdict::unclear, " The curve bends at 15; whether more than at 10 is not told apart."};
  }
  return {Verdict::unclear, " No bend is told apart from noise at either."};
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
    const auto [verdict, text] = where_it_bends(*at10, *at15, *more);
    finding.verdict = verdict;
    finding.text += text;
  } else {
    finding.text += " Not all of K 5, 10, 15 and 20 were run, so there is no elbow to judge.";
  }
  findings.push_back(finding);
}

// The paper calls its 12.4 near its 15: within 3.
constexpr double kNear = 3;

bool is_fixed_pool(const StudyCell& cell) {
  return (cell.name.starts_with("topk-") || cell.name.starts_with("topp-")) &&
         cell.numbers.contains("experts") && estimate_of(cell, "test_loss").n > 0;
}

// Within kNear of a range of K: holds and fails by the whole interval.
Verdict near(const Estimate& experts, double low, double high) {
  if (experts.n < 2) return Verdict::unclear;
  if (experts.low >= low - kNear && experts.high <= high + kNear) return Verdict::holds;
  return experts.high < low - kNear || experts.low > high + kNear ? Verdict::fails
                                                                  : Verdict::unclear;
}

std::string near_text(Verdict verdict) {
  return verdict == Verdict::holds ? "is" : verdict == Verdict::fails ? "is not" : "may be";
}

// The fixed pool with the least mean loss, and the sizes of those that are not told apart from it.
struct BestPool {
  const StudyCell* cell = nullptr;
  size_t pools = 0, alike = 0;
  double low = 0, high = 0;  // K
};
BestPool best_pool(const StudyResults& results) {
  BestPool best;
  const auto loss = [](const StudyCell& cell) { return estimate_of(cell, "test_loss").mean; };
  for (const StudyCell& cell : results.cells) {
    if (!is_fixed_pool(cell)) continue;
    ++best.pools;
    if (best.cell == nullptr || loss(cell) < loss(*best.cell)) best.cell = &cell;
  }
  if (best.cell == nullptr) return best;
  best.low = best.high = best.cell->numbers.at("experts");
  for (const StudyCell& cell : results.cells) {
    if (!is_fixed_pool(cell) || &cell == best.cell) continue;
    if (above(cell_difference(cell, *best.cell, "test_loss"))) continue;
    ++best.alike;
    best.low = std::min(best.low, cell.numbers.at("experts"));
    best.high = std::max(best.high, cell.numbers.at("experts"));
  }
  return best;
}

// MASS's loss minus that of each pool of equal routing; the verdict is whether it is at most
// `kEnough` above every one of them. No pool is chosen by its own result.
constexpr double kEnough = 0.01;
Verdict near_in_loss(const StudyResults& results, const StudyCell& mass,
                     std::vector<std::string>& items) {
  size_t pools = 0, within = 0;
  bool beyond = false;
  for (const StudyCell& cell : results.cells) {
    if (!is_fixed_pool(cell) || !cell.name.starts_with("topp-")) continue;
    const Estimate loss = cell_difference(mass, cell, "test_loss");
    if (loss.n == 0) continue;
    ++pools;
    within += loss.high <= kEnough ? 1 : 0;
    beyond = beyond || loss.low > kEnough;
    items.push_back(
        fmt::format("Loss minus that of {}: {}", quoted(cell), interval_text(loss, 4, true)));
  }
  return beyond ? Verdict::fails : pools > 0 && within == pools ? Verdict::holds : Verdict::unclear;
}

// "20", or "15 to 20".
std::string sizes_text(const BestPool& best) {
  return best.low == best.high ? fmt::format("{}", best.low)
                               : fmt::format("{} to {}", best.low, best.high);
}

std::string best_text(const BestPool& best) {
  std::string text =
      fmt::format(" Of our {} fixed top-k and top-p pools {} has the least mean loss, {}; ",
                  best.pools, quoted(*best.cell), loss_of(*best.cell));
  if (best.alike == 0) {
    text += "all others are worse by more than the noise.";
  } else {
    text += fmt::format("{} of the others {} not told apart from it, together of K {}.", best.alike,
                        best.alike == 1 ? "is" : "are", sizes_text(best));
  }
  return text + " It was chosen by the same runs, which flatters it.";
}

void lands_near(const StudyResults& results, std::vector<Finding>& findings) {
  const StudyCell* mass = mass_of(results);
  if (mass == nullptr) return;
  const Estimate experts = estimate_of(*mass, "experts");
  if (experts.n == 0) return;
  Finding finding{FindingKind::paper,
                  "MASS lands near the best fixed size in one run, without a search",
                  Verdict::unclear, ""};
  finding.text = fmt::format("{} ends with K {} and a test loss of {}.", quoted(*mass),
                             interval_text(experts, 1, false), loss_of(*mass));
  const BestPool best = best_pool(results);
  if (best.cell != nullptr) {
    Verdict size = near(experts, best.low, best.high);
    // Where sizes far apart are alike, to be near one of them says nothing.
    if (best.high - best.low > 2 * kNear && size == Verdict::holds) size = Verdict::unclear;
    const Verdict loss = near_in_loss(results, *mass, finding.items);
    if (size == Verdict::fails || loss == Verdict::fails) finding.verdict = Verdict::fails;
    if (size == Verdict::holds && loss == Verdict::holds) finding.verdict = Verdict::holds;
    finding.text += best_text(best);
    finding.text += fmt::format(" K {} within 3 of {}.", near_text(size), sizes_text(best));
    finding.text += finding.items.empty()
                        ? " There is no top-p pool, of equal routing, to compare the loss with."
                        : fmt::format(
                              " The loss {} at most 0.01 above that of the top-p pool of "
                              "every size, so of the best one, whichever that is.",
                              near_text(loss));
  }
  double least = kNone, most = kNone;
  size_t cells = 0, close = 0;
  constexpr double kElbow = 15;
  for (const StudyCell& cell : results.cells) {
    const double mean = estimate_of(cell, "experts").mean;
    if (!cell.name.starts_with("mass-") || !std::isfinite(mean)) continue;
    least = std::fmin(least, mean);
    most = std::fmax(most, mean);
    ++cells;
    close += std::abs(mean - kElbow) <= kNear ? 1 : 0;
  }
  finding.items.push_back(fmt::format("K {} within 3 of the paper's elbow, 15",
                                      near_text(near(experts, kElbow, kElbow))));
  if (cells > 1) {
    finding.items.push_back(
        fmt::format("Over all {} configurations of MASS the mean K goes from {} to {}; {} lie "
                    "within 12 to 18",
                    cells, number_text(least, 1), number_text(most, 1), close));
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

// K and k against the paper's, where our interval is narrow enough for its figure to mean anything.
void headline(const StudyResults& results, std::vector<Finding>& findings) {
  const StudyCell* mass = mass_of(results);
  if (mass == nullptr) return;
  const Estimate loss = estimate_of(*mass, "test_loss");
  if (loss.n > 0) {
    const double floor = estimate_of(*mass, "floor").mean;
    findings.push_back(
        {FindingKind::paper, "Test loss 2.15", Verdict::found,
         fmt::format("{} has {}. The paper's corpus was never published; on ours the exact floor "
                     "is {}, so the two losses are of different data and no verdict is made.",
                     quoted(*mass), loss_of(*mass), number_text(floor, 4))});
  }
  std::vector<std::string> parts;
  bool outside = false, all = true;
  for (const auto& [measure, name, value, widest] :
       {std::tuple("experts", "K", 12.4, 2.0), std::tuple("active_experts", "k", 3.9, 1.0)}) {
    const Estimate ours = estimate_of(*mass, measure);
    if (ours.n == 0) continue;
    const bool narrow = ours.n > 1 && (ours.high - ours.low) / 2 < widest;
    const bool inside = ours.low <= value && value <= ours.high;
    all = all && narrow && inside;
    outside = outside || (narrow && !inside);
    parts.push_back(fmt::format("{} {} where the paper has {} ({})", name,
                                interval_text(ours, 2, false), number_text(value, 1),
                                !narrow  ? "too wide an interval to judge"
                                : inside ? "inside"
                                         : "outside"));
  }
  if (parts.empty()) return;
  findings.push_back({FindingKind::paper, "MASS ends with K 12.4 and k 3.9",
                      outside ? Verdict::fails
                      : all   ? Verdict::holds
                              : Verdict::unclear,
                      fmt::format("{}: {}. The corpus is another one than the paper's.",
                                  quoted(*mass), joined(parts))});
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
      ends.push_back(interval_text(estimate_of(*cell, "experts"), 1, false));
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
