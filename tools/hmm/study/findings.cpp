#include "tools/hmm/study/findings.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/error.h"
#include "tools/hmm/study/findings_parts.h"

namespace offshoot {
namespace {

constexpr std::array<std::string_view, 6> kStudies = {"paper", "ablate",   "drift",
                                                      "noise", "overhead", "need"};

// Text that Markdown would take for markup.
std::string escape_markdown(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += ' ';
      continue;
    }
    if (std::string_view("\\`*_|<>#").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

// A command as code; a backtick in it would end it.
std::string code(std::string text) {
  std::ranges::replace(text, '`', '\'');
  std::ranges::replace(text, '\n', ' ');
  std::string out;
  for (const char c : text) out += c == '|' ? "\\|" : std::string(1, c);
  return "`" + out + "`";
}

size_t order_of(const std::string& study) {
  return static_cast<size_t>(std::ranges::find(kStudies, study) - kStudies.begin());
}

std::string sources(const std::vector<const StudyResults*>& studies) {
  std::string text =
      "| Study | Command | Steps a run | Seeds | Cells | Runs |\n| --- | --- | --- | --- | --- | "
      "--- |\n";
  for (const StudyResults* study : studies) {
    size_t runs = 0;
    for (const StudyCell& cell : study->cells) runs += cell.runs.size();
    text += fmt::format("| {}{} | {} | {} | {} | {} | {} |\n", escape_markdown(study->study),
                        study->quick ? " (quick)" : "", code(study->command),
                        count_text(static_cast<double>(study->steps)), study->seeds.size(),
                        study->cells.size(), runs);
  }
  return text;
}

std::string section(std::string_view title, FindingKind kind,
                    const std::vector<const StudyResults*>& studies) {
  std::string text;
  for (const StudyResults* study : studies) {
    for (const Finding& finding : findings_of(*study)) {
      if (finding.kind != kind) continue;
      const std::string verdict = finding.verdict == Verdict::found
                                      ? ""
                                      : fmt::format("**{}.** ", to_string(finding.verdict));
      text += fmt::format("\n### {}\n\n{}{} *({})*\n", escape_markdown(finding.question), verdict,
                          escape_markdown(finding.text), escape_markdown(study->study));
      if (!finding.items.empty()) text += '\n';
      for (const std::string& item : finding.items) {
        text += fmt::format("- {}\n", escape_markdown(item));
      }
    }
  }
  return text.empty() ? text : fmt::format("\n## {}\n{}", title, text);
}

// What looking at many intervals does.
std::string many_text(const std::vector<const StudyResults*>& studies) {
  size_t intervals = 0, beyond = 0;
  for (const StudyResults* study : studies) {
    for (const StudyComparison& comparison : study->comparisons) {
      // A run compared with itself under another name differs by nothing.
      if (!(comparison.difference.standard_error > 0)) continue;
      ++intervals;
      beyond += differs_from_zero(comparison.difference) ? 1 : 0;
    }
  }
  std::string text =
      " No correction for the number of comparisons is made: of differences that are none 5% leave "
      "0 out by chance alone.";
  if (intervals == 0) return text;
  return fmt::format(
      "{} Of the {} in the studies' results {} leave 0 out; about {} would if there were none.",
      text, intervals, beyond, std::lround(0.05 * static_cast<double>(intervals)));
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::holds:
      return "Holds";
    case Verdict::fails:
      return "Does not hold";
    case Verdict::unclear:
      return "Cannot be told apart from noise";
    case Verdict::found:
      return "Found";
  }
  return "";
}

std::vector<Finding> findings_of(const StudyResults& results) {
  if (results.study == "paper") return paper_findings(results);
  if (results.study == "ablate") return ablate_findings(results);
  if (results.study == "drift") return drift_findings(results);
  if (results.study == "noise") return noise_findings(results);
  if (results.study == "overhead") return overhead_findings(results);
  if (results.study == "need") return need_findings(results);
  fail("findings", "study: got {}, expected paper, ablate, drift, noise, overhead or need",
       results.study);
}

std::string findings_markdown(const std::vector<StudyResults>& studies) {
  std::vector<const StudyResults*> ordered;
  for (const StudyResults& study : studies) ordered.push_back(&study);
  std::ranges::stable_sort(ordered, {}, [](const auto* study) { return order_of(study->study); });
  std::string text =
      "# What held up on GINC\n\nGenerated from the results of the studies, not typed in: the "
      "sentences are chosen by the numbers. Numbers in brackets are 95% confidence intervals over "
      "the seeds; differences are taken seed by seed. A claim holds, or does not, when its "
      "interval says so, and else cannot be told apart from noise. An interval without length "
      "says that all seeds came to the same number, not that the next one will.";
  text += many_text(ordered) + "\n\n";
  text += sources(ordered);
  if (std::ranges::any_of(ordered, [](const auto* study) { return study->quick; })) {
    text +=
        "\nQuick runs are shorter and have fewer seeds: they show that a study works, not what "
        "it finds.\n";
  }
  text += section("The paper's claims", FindingKind::paper, ordered);
  text += section("What an independent study of the mechanism found", FindingKind::independent,
                  ordered);
  text += section("Open questions", FindingKind::open, ordered);
  return text;
}

// --- shared by the studies ----------------------------------------------------------------------

std::optional<Estimate> estimate_over(
    const std::vector<const StudyCell*>& cells, const std::string& measure,
    const std::function<double(const std::vector<double>&)>& figure) {
  if (cells.empty() || std::ranges::find(cells, nullptr) != cells.end()) return std::nullopt;
  std::vector<double> figures;
  for (const StudyRun& first : cells.front()->runs) {
    std::vector<double> values;
    for (const StudyCell* cell : cells) {
      const auto run = std::ranges::find(cell->runs, first.seed, &StudyRun::seed);
      if (run != cell->runs.end()) values.push_back(run->measure(measure));
    }
    if (values.size() == cells.size()) figures.push_back(figure(values));
  }
  const Estimate found = estimate(figures);
  return found.n > 0 ? std::optional(found) : std::nullopt;
}

Verdict holds_above(const Estimate& e) {
  return above(e) ? Verdict::holds : below(e) ? Verdict::fails : Verdict::unclear;
}

Verdict holds_below(const Estimate& e) {
  return below(e) ? Verdict::holds : above(e) ? Verdict::fails : Verdict::unclear;
}

std::string by_text(const Estimate& e, int decimals) {
  if (e.n < 2) return fmt::format("by {} (one seed)", number_text(std::abs(e.mean), decimals));
  const double low = e.mean < 0 ? -e.high : e.low;
  const double high = e.mean < 0 ? -e.low : e.high;
  return fmt::format("by {} [{}, {}]", number_text(std::abs(e.mean), decimals),
                     number_text(low, decimals), number_text(high, decimals));
}

std::string quoted(const StudyCell& cell) { return "\u201c" + cell.label + "\u201d"; }

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += i + 1 == parts.size() ? " and " : ", ";
    text += parts[i];
  }
  return text;
}

std::string compared_text(const Estimate& e, int decimals, std::string_view higher,
                          std::string_view lower) {
  if (above(e)) return fmt::format("{} {}", higher, by_text(e, decimals));
  if (below(e)) return fmt::format("{} {}", lower, by_text(e, decimals));
  if (e.n < 2) return fmt::format("different by {} (one seed)", signed_text(e.mean, decimals));
  return fmt::format("not told apart from noise ({})", interval_text(e, decimals, true));
}

}  // namespace offshoot
