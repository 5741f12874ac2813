#include "tools/hmm/study/tables.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "tools/support/display.h"
#include "tools/support/text_table.h"

namespace offshoot {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kFewestColumns = 3;

int64_t longest_line(std::string_view text) {
  int64_t longest = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    longest = std::max(longest, columns_of(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return longest;
}

struct StudyColumn {
  std::string title;       // on a terminal
  std::string page_title;  // on a page
  std::function<std::string(const StudyCell&)> text;
};
using Columns = std::vector<StudyColumn>;

double half_width(const Estimate& e) { return (e.high - e.low) / 2; }

// Of two seeds an interval may be longer than its number: no digits are spent on that.
std::string half_text(const Estimate& e, int decimals) {
  const double half = half_width(e);
  return decimals == 0 || half >= 100 ? count_text(half) : number_text(half, decimals);
}

// How many seeds a figure has, where that is not the row's number.
std::string fewer_text(const Estimate& e, const StudyCell& cell) {
  return e.n == std::ssize(cell.runs) ? "" : fmt::format(" ({})", e.n);
}

// Empty without a value; on a terminal without spaces.
std::string figure_text(const Estimate& e, const StudyCell& cell, int decimals, bool page) {
  if (e.n == 0) return "";
  std::string text = estimate_text(e, decimals);
  const size_t space = text.find(" ±");
  if (!page && space != std::string::npos) text.erase(space, 1);
  return text + fewer_text(e, cell);
}

StudyColumn measured(std::string title, std::string page_title, std::string measure, int decimals,
                     bool page) {
  return {std::move(title), std::move(page_title), [=](const StudyCell& cell) {
            return figure_text(estimate_of(cell, measure), cell, decimals, page);
          }};
}

// A measure divided by another, in percent.
StudyColumn share(std::string title, std::string page_title, std::string part, std::string whole,
                  bool page) {
  return {std::move(title), std::move(page_title), [=](const StudyCell& cell) {
            return figure_text(ratio_of(cell, part, whole, 100), cell, 2, page);
          }};
}

StudyColumn kibibytes(std::string title, std::string page_title, std::string measure, bool page) {
  return {std::move(title), std::move(page_title), [=](const StudyCell& cell) {
            return figure_text(ratio_of(cell, measure, "", 1.0 / 1024), cell, 1, page);
          }};
}

StudyColumn difference(const StudyResults& results, std::string title, std::string page_title,
                       std::string measure, int decimals, bool page) {
  return {std::move(title), std::move(page_title), [=, &results](const StudyCell& cell) {
            const StudyComparison* found = results.compared(measure, cell.name);
            if (found == nullptr || found->difference.n == 0) return std::string();
            const Estimate& e = found->difference;
            const std::string half =
                e.n > 1 ? fmt::format("{}±{}", page ? " " : "", half_text(e, decimals)) : "";
            // As wide as the star where there is none.
            const char* const mark = differs_from_zero(e) ? (page ? " *" : "*")
                                     : page               ? "\u2007\u2008"
                                                          : " ";
            return fmt::format("{}{}{}{}", signed_text(e.mean, decimals), half, fewer_text(e, cell),
                               mark);
          }};
}

// The paper's figures: "2.15 / 12.4 / 3.9".
StudyColumn published() {
  const std::string title = "Paper: loss / K / k";
  return {title, title, [](const StudyCell& cell) {
            if (cell.published.empty()) return std::string();
            std::string text;
            for (const auto& [measure, decimals] :
                 {std::pair("test_loss", 2), {"experts", 1}, {"active_experts", 1}}) {
              const auto at = cell.published.find(measure);
              text += (text.empty() ? "" : " / ") +
                      number_text(at == cell.published.end() ? kNone : at->second, decimals);
            }
            return text;
          }};
}

StudyColumn seeds() {
  return {"seeds", "Seeds", [](const StudyCell& cell) {
            return cell.runs.empty() ? std::string() : fmt::format("{}", cell.runs.size());
          }};
}

// Three columns, one a stage: "K 1" and so on.
Columns staged(std::string_view title, std::string_view page_title, std::string_view measure,
               int decimals, bool page) {
  Columns columns;
  for (int stage = 1; stage <= 3; ++stage) {
    columns.push_back(measured(fmt::format("{} {}", title, stage),
                               fmt::format(fmt::runtime(page_title), stage),
                               fmt::format("{}_stage_{}", measure, stage), decimals, page));
  }
  return columns;
}

// Columns in groups, a table each: all of them would be wider than a terminal or a page.
std::vector<Columns> groups_for(const StudyResults& results, bool page) {
  const auto plain = [page](std::string title, std::string page_title, std::string measure,
                            int decimals) {
    return measured(std::move(title), std::move(page_title), std::move(measure), decimals, page);
  };
  const StudyColumn experts = plain("K", "Experts K", "experts", 1);
  const StudyColumn active = plain("k", "Active k", "active_experts", page ? 2 : 1);
  const StudyColumn loss = plain("test loss", "Test loss, nats", "test_loss", 4);
  const auto compared = [&](std::string page_title, const std::string& measure, int decimals) {
    return difference(results, "difference ", std::move(page_title), measure, decimals, page);
  };
  if (results.study == "drift") {
    Columns growth = staged("K", "K after stage {}", "experts", 1, page);
    growth.insert(growth.end(), {active, plain("answered", "Stages answered", "answered", 2),
                                 plain("reaction", "Reaction, steps", "reaction_steps", 0)});
    Columns losses = staged("loss", "Loss of stage {}, nats", "loss", 3, page);
    losses.insert(losses.end(), {plain("forgetting", "Forgetting, nats", "forgetting", 3),
                                 compared("Difference of that\u2007\u2008", "forgetting", 3)});
    return {growth, losses};
  }
  if (results.study == "noise") {
    return {{experts, loss, plain("false", "False expansions in 100 steps", "false_expansions", 2),
             plain("hit", "Hits", "hit", 2), plain("missed", "Missed", "missed", 2),
             plain("reaction", "Reaction, steps", "reaction_steps", 0)}};
  }
  if (results.study == "overhead") {
    const auto part = [page](std::string title, std::string page_title, std::string measure) {
      return share(std::move(title), std::move(page_title), std::move(measure), "step_us", page);
    };
    const auto memory = [page](std::string title, std::string page_title, std::string measure) {
      return kibibytes(std::move(title), std::move(page_title), std::move(measure), page);
    };
    return {
        {plain("step µs", "Step, µs", "step_us", 0), part("observe %", "Observe, %", "observe_us"),
         part("decide %", "Decide, %", "decide_us"), part("edit %", "Edit, %", "edit_us"),
         plain("steady µs", "Steady step, µs", "steady_step_us", 0)},
        {plain("edits", "Edits", "edits", 1), plain("edit µs", "An edit, µs", "edit_each_us", 0),
         memory("expert KiB", "An expert, KiB", "expert_bytes"),
         memory("windows KiB", "Windows, KiB", "window_bytes"),
         memory("model KiB", "Model, KiB", "model_bytes"),
         memory("optimizer KiB", "Optimizer, KiB", "optimizer_bytes")}};
  }
  if (results.study == "need") {
    return {{experts,
             active,
             loss,
             plain("excess", "Above the floor", "excess", 4),
             {"K needed", "K needed",
              [&results](const StudyCell& cell) { return experts_needed_text(results, cell); }}}};
  }
  return {{experts, active, loss, compared("Difference\u2007\u2008", "test_loss", 4),
           plain("JSD ent.", "JSD entity", "jsd_entity", 2),
           plain("JSD pr.", "JSD property", "jsd_property", 2)}};
}

std::string published_note(const StudyCell& cell) {
  std::vector<std::string> parts;
  const auto add = [&](std::string_view name, const char* measure, int decimals) {
    const auto at = cell.published.find(measure);
    if (at == cell.published.end()) return;
    parts.push_back(fmt::format("{} {}", name, number_text(at->second, decimals)));
  };
  add("test loss", "test_loss", 2);
  add("K", "experts", 1);
  add("k", "active_experts", 1);
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text.empty() ? text : "    the paper: " + text;
}

// A family's title stands above its cells: no label need repeat it.
std::string short_label(const StudyCell& cell) {
  const std::string prefix = cell.family + ", ", suffix = ", " + cell.family;
  if (cell.label.size() <= suffix.size()) return cell.label;
  if (cell.label.starts_with(prefix)) return cell.label.substr(prefix.size());
  if (!cell.label.ends_with(suffix)) return cell.label;
  return cell.label.substr(0, cell.label.size() - suffix.size());
}

bool several_seeds(const StudyResults& results) {
  return std::ranges::any_of(results.cells, [](const auto& cell) { return cell.runs.size() > 1; });
}

// What differences are taken against: "MASS, reference", or a row in each block.
std::string against_text(const StudyResults& results) {
  const StudyCell* reference = reference_of(results);
  if (reference == nullptr) return "";
  const bool one = std::ranges::all_of(
      results.comparisons, [&](const StudyComparison& c) { return c.against == reference->name; });
  return one ? reference->label : "the reference row of each block";
}

std::string explanation(const StudyResults& results) {
  std::string text = several_seeds(results)
                         ? "±: 95% interval, Student's t, over the row's seeds; (n): over n seeds "
                           "only.\n"
                         : "One seed: no intervals.\n";
  if (reference_of(results) == nullptr) return text;
  return fmt::format(
      "{}Difference: seed by seed against {}.\n* larger than the noise: the interval leaves 0 "
      "out.\n",
      text, cut_end(displayable(against_text(results)), 40));
}

TextTable text_table(const StudyResults& results, const Columns& columns, bool notes) {
  std::vector<TextTable::Column> titles = {{"", TextTable::Align::left}};
  for (const StudyColumn& column : columns) titles.push_back({column.title});
  TextTable table(std::move(titles));
  for (const StudyFamily& family : families_of(results)) {
    std::vector<std::string> line(columns.size() + 1);
    line[0] = displayable(family_title(family.name));
    table.row(line, TextTable::Weight::faint);
    for (size_t i = 0; i < family.cells.size(); ++i) {
      const StudyCell& cell = *family.cells[i];
      line[0] = "  " + displayable(short_label(cell));
      for (size_t c = 0; c < columns.size(); ++c) line[c + 1] = columns[c].text(cell);
      table.row(line, TextTable::Weight::normal);
      // Once below cells that the paper has one figure for.
      const std::string note = published_note(cell);
      const bool last = i + 1 == family.cells.size();
      if (notes && !note.empty() && (last || note != published_note(*family.cells[i + 1]))) {
        table.note(note);
      }
    }
  }
  return table;
}

void write_group(Markup& page, const StudyResults& results, Columns columns) {
  // A column that is empty throughout says nothing.
  std::erase_if(columns, [&](const StudyColumn& column) {
    return std::ranges::all_of(results.cells,
                               [&](const StudyCell& cell) { return column.text(cell).empty(); });
  });
  const auto is_reference = [&](const StudyCell& cell) {
    return std::ranges::find(results.comparisons, cell.name, &StudyComparison::against) !=
           results.comparisons.end();
  };
  page.open("div", {{"class", "scroll"}}).open("table", {{"class", "cells"}});
  page.open("thead").open("tr").element("th", {{"scope", "col"}}, "");
  for (const StudyColumn& column : columns) {
    page.element("th", {{"scope", "col"}}, column.page_title);
  }
  page.close().close().open("tbody");
  for (const StudyFamily& family : families_of(results)) {
    page.open("tr", {{"class", "group"}});
    page.element("td", {{"colspan", fmt::format("{}", columns.size() + 1)}},
                 family_title(family.name));
    page.close();
    for (const StudyCell* cell : family.cells) {
      page.open("tr", {{"class", is_reference(*cell) ? "ours" : ""}});
      page.element("td", {}, short_label(*cell));
      for (const StudyColumn& column : columns) {
        const std::string text = column.text(*cell);
        page.element("td", {{"class", text.ends_with("\u2008") ? "noise" : ""}},
                     text.empty() ? kMissing : text);
      }
      page.close();
    }
  }
  page.close().close().close();
}

}  // namespace

std::string estimate_text(const Estimate& estimate, int decimals) {
  const std::string text =
      decimals == 0 ? count_text(estimate.mean) : number_text(estimate.mean, decimals);
  if (estimate.n < 2) return text;
  return fmt::format("{} ±{}", text, half_text(estimate, decimals));
}

std::string interval_text(const Estimate& estimate, int decimals, bool with_sign) {
  const auto number = [&](double value) {
    return with_sign ? signed_text(value, decimals) : number_text(value, decimals);
  };
  if (estimate.n < 2) return number(estimate.mean);
  return fmt::format("{} [{}, {}]", number(estimate.mean), number(estimate.low),
                     number(estimate.high));
}

Estimate estimate_of(const StudyCell& cell, const std::string& measure) {
  const auto at = cell.estimates.find(measure);
  return at == cell.estimates.end() ? Estimate{0, kNone, kNone, kNone, kNone} : at->second;
}

Estimate ratio_of(const StudyCell& cell, const std::string& part, const std::string& whole,
                  double unit) {
  std::vector<double> ratios;
  for (const StudyRun& run : cell.runs) {
    ratios.push_back(unit * run.measure(part) / (whole.empty() ? 1 : run.measure(whole)));
  }
  return estimate(ratios);
}

std::string experts_needed_text(const StudyResults& results, const StudyCell& cell) {
  const auto number = [](const StudyCell& of, const char* name) {
    const auto at = of.numbers.find(name);
    return at == of.numbers.end() ? kNone : at->second;
  };
  const double needed = number(cell, "experts_needed");
  if (!std::isfinite(needed)) return "";
  double largest = kNone;  // that was tried
  for (const StudyCell& other : results.cells) {
    if (number(other, "concepts") != number(cell, "concepts")) continue;
    largest = std::fmax(largest, number(other, "experts"));
  }
  return fmt::format("{}{}", number_text(needed, 0), needed == largest ? " or more" : "");
}

std::string family_title(const std::string& family) {
  static const std::map<std::string, std::string> kTitles = {
      {"topk", "top-k"},
      {"topp", "top-p"},
      {"gmoe", "GMoE (cosine router)"},
      {"dense", "dense"},
      {"shared", "shared expert"},
      {"ortho", "orthogonality and variance losses"},
      {"dynmoe", "DynMoE"},
      {"mass", "MASS"},
      {"mass-reference", "MASS, preset reference"},
      {"mass-paper", "MASS, preset paper"},
      {"needed", "experts needed"}};
  const auto at = kTitles.find(family);
  return at == kTitles.end() ? family : at->second;
}

bool nothing_arrives(const StudyCell& cell) { return cell.name.ends_with("-none"); }

std::vector<StudyFamily> families_of(const StudyResults& results) {
  std::vector<StudyFamily> families;
  for (const StudyCell& cell : results.cells) {
    auto at = std::ranges::find(families, cell.family, &StudyFamily::name);
    if (at == families.end()) at = families.insert(at, {cell.family, {}});
    at->cells.push_back(&cell);
  }
  return families;
}

const StudyCell* reference_of(const StudyResults& results) {
  if (results.comparisons.empty()) return nullptr;
  const auto loss = std::ranges::find(results.comparisons, "test_loss", &StudyComparison::measure);
  return results.find(loss == results.comparisons.end() ? results.comparisons.front().against
                                                        : loss->against);
}

std::string study_table(const StudyResults& results, const Terminal& terminal) {
  const int64_t width = text_width(terminal);  // 0: as wide as it comes, into a pipe or a file
  std::string text;
  bool dropped = false;
  for (Columns& columns : groups_for(results, false)) {
    columns.insert(columns.begin(), seeds());
    const bool first = text.empty();
    // Rather a column less than labels that look alike.
    while (width > 0 && columns.size() > kFewestColumns &&
           longest_line(text_table(results, columns, first).render(terminal, 0, 0)) > width) {
      columns.pop_back();
      dropped = true;
    }
    text += fmt::format("{}{}", first ? "" : "\n",
                        text_table(results, columns, first).render(terminal, 0, width));
  }
  if (dropped) text += terminal.dim("More columns: on a wider terminal, and in page.html.") + '\n';
  return text + terminal.dim(explanation(results));
}

void write_study_table(Markup& page, const StudyResults& results) {
  for (Columns& columns : groups_for(results, true)) {
    columns.insert(columns.begin(), seeds());
    columns.push_back(published());
    write_group(page, results, std::move(columns));
  }
  std::string note =
      several_seeds(results)
          ? "Means over the row's seeds ± half of the 95% interval (Student's t); (n) behind a "
            "figure: over n seeds only. Two or three seeds give wide intervals, or ±0 where they "
            "came to the same number, which the next one need not."
          : "One seed: no intervals.";
  if (reference_of(results) != nullptr) {
    note += fmt::format(
        " Differences are taken seed by seed against {} (blue), with their 95% interval; * marks "
        "those that are larger than the noise, whose interval leaves 0 out.",
        against_text(results));
  }
  page.element("p", {{"class", "note"}}, note);
}

}  // namespace offshoot
