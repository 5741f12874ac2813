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
constexpr int64_t kTextWidth = 100;

struct StudyColumn {
  std::string title;       // on a terminal
  std::string page_title;  // on a page
  std::function<std::string(const StudyCell&)> text;
};

// A measure's mean and error; on a terminal `error` only where it is worth the room.
StudyColumn measured(std::string title, std::string page_title, std::string measure, int decimals,
                     bool error) {
  return {std::move(title), std::move(page_title), [=](const StudyCell& cell) {
            const Estimate found = estimate_of(cell, measure);
            if (found.n == 0) return std::string();
            return error ? estimate_text(found, decimals) : number_text(found.mean, decimals);
          }};
}

// Several measures' means in one column: "0.95 / 0.15".
StudyColumn together(std::string title, std::string page_title, std::vector<std::string> measures,
                     int decimals, bool page) {
  return {std::move(title), std::move(page_title), [=](const StudyCell& cell) {
            std::string text;
            bool some = false;
            for (const std::string& measure : measures) {
              const Estimate found = estimate_of(cell, measure);
              some = some || found.n > 0;
              text += (text.empty() ? "" : page ? " / " : "/") + number_text(found.mean, decimals);
            }
            return some ? text : std::string();
          }};
}

// Measures divided by another: "0.8%".
StudyColumn share(std::string title, std::string page_title, std::string part, std::string whole) {
  return {std::move(title), std::move(page_title), [=](const StudyCell& cell) {
            const double value = estimate_of(cell, part).mean / estimate_of(cell, whole).mean;
            return std::isfinite(value) ? number_text(100 * value, 2) + "%" : std::string();
          }};
}

StudyColumn bytes(std::string title, std::string measure) {
  return {title, title, [=](const StudyCell& cell) {
            const Estimate found = estimate_of(cell, measure);
            return found.n > 0 ? bytes_text(found.mean) : std::string();
          }};
}

StudyColumn difference(const StudyResults& results, std::string title, std::string page_title,
                       std::string measure, int decimals, bool page) {
  return {std::move(title), std::move(page_title), [=, &results](const StudyCell& cell) {
            const StudyComparison* found = results.compared(measure, cell.name);
            if (found == nullptr || found->difference.n == 0) return std::string();
            const Estimate& e = found->difference;
            const bool larger = differs_from_zero(e);
            if (page) return interval_text(e, decimals, true) + (larger ? " *" : "\u2007\u2008");
            std::string text = signed_text(e.mean, decimals);
            if (e.n > 1) text += " ±" + number_text((e.high - e.low) / 2, decimals);
            return text + (larger ? " *" : "  ");
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

std::vector<StudyColumn> columns_for(const StudyResults& results, bool page) {
  const StudyColumn experts = measured("K", "Experts K", "experts", 1, page);
  const StudyColumn active = measured("k", "Active k", "active_experts", 2, page);
  const StudyColumn loss = measured("test loss", "Test loss, nats", "test_loss", 4, true);
  const auto compared = [&](const std::string& measure, int decimals) {
    return difference(results, "difference  ", "Difference\u2007\u2008", measure, decimals, page);
  };
  if (results.study == "drift") {
    return {together("K after stages", "K after each stage",
                     {"experts_stage_1", "experts_stage_2", "experts_stage_3"}, 1, page),
            active,
            together("losses of stages", "Loss by stage's concepts, nats",
                     {"loss_stage_1", "loss_stage_2", "loss_stage_3"}, page ? 3 : 2, page),
            measured("forgetting", "Forgetting, nats", "forgetting", page ? 4 : 3, true),
            compared("forgetting", page ? 4 : 3),
            measured("reaction", "Reaction, steps", "reaction_steps", 0, page)};
  }
  if (results.study == "noise") {
    return {experts,
            loss,
            measured("false", "False expansions in 100 steps", "false_expansions", 2, true),
            measured("hit", "Hits", "hit", 2, page),
            measured("missed", "Missed", "missed", 2, page),
            measured("reaction", "Reaction, steps", "reaction_steps", 0, page)};
  }
  if (results.study == "overhead") {
    return {measured("step µs", "Step, µs", "step_us", 0, page),
            share("observe", "Observe", "observe_us", "step_us"),
            share("decide", "Decide", "decide_us", "step_us"),
            share("edit", "Edit", "edit_us", "step_us"),
            measured("steady µs", "Steady step, µs", "steady_step_us", 0, page),
            bytes("windows", "window_bytes"),
            bytes("model", "model_bytes"),
            bytes("optimizer", "optimizer_bytes")};
  }
  if (results.study == "need") {
    return {experts,
            active,
            loss,
            measured("excess", "Above the floor", "excess", 4, true),
            {"needed", "K needed", [](const StudyCell& cell) {
               const auto at = cell.numbers.find("experts_needed");
               return at == cell.numbers.end() ? std::string() : number_text(at->second, 0);
             }}};
  }
  return {experts, active, loss, compared("test_loss", 4),
          together("JSD e/p", "JSD entity / property", {"jsd_entity", "jsd_property"}, 2, page)};
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

std::string explanation(const StudyResults& results) {
  std::string text = "±: standard error of the mean.\n";
  const StudyCell* reference = reference_of(results);
  if (reference == nullptr) return text;
  return fmt::format(
      "{}Difference: seed by seed, ± half of its 95% interval, against {}.\n* larger than the "
      "noise: the interval leaves 0 out.\n",
      text, cut_end(displayable(reference->label), 32));
}

}  // namespace

std::string estimate_text(const Estimate& estimate, int decimals) {
  const auto number = [&](double value) {
    return decimals == 0 ? count_text(value) : number_text(value, decimals);
  };
  std::string text = number(estimate.mean);
  if (estimate.n > 1) text += " ±" + number(estimate.standard_error);
  return text;
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
  const std::vector<StudyColumn> columns = columns_for(results, false);
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
      if (!note.empty() && (last || note != published_note(*family.cells[i + 1]))) {
        table.note(note);
      }
    }
  }
  const int64_t width =
      terminal.interactive() ? std::min<int64_t>(terminal.width(), kTextWidth) : kTextWidth;
  return table.render(terminal, 0, width) + terminal.dim(explanation(results));
}

void write_study_table(Markup& page, const StudyResults& results) {
  std::vector<StudyColumn> columns = columns_for(results, true);
  columns.push_back(published());
  // How many runs a cell has is worth a column where some are missing.
  const bool all_runs = std::ranges::all_of(results.cells, [&](const StudyCell& cell) {
    return cell.runs.empty() || cell.runs.size() == results.seeds.size();
  });
  if (!all_runs) {
    columns.insert(columns.begin(), {"runs", "Runs", [](const StudyCell& cell) {
                                       return fmt::format("{}", cell.runs.size());
                                     }});
  }
  // A column that is empty throughout says nothing.
  std::erase_if(columns, [&](const StudyColumn& column) {
    return std::ranges::all_of(results.cells,
                               [&](const StudyCell& cell) { return column.text(cell).empty(); });
  });
  const StudyCell* reference = reference_of(results);
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
      page.open("tr", {{"class", cell == reference ? "ours" : ""}});
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
  std::string note = "Means over the runs, ± the standard error.";
  if (reference != nullptr) {
    note += fmt::format(
        " Differences are taken seed by seed against {} (blue row), with their 95% interval; * "
        "marks those that are larger than the noise, whose interval leaves 0 out.",
        reference->label);
  }
  page.element("p", {{"class", "note"}}, note);
}

}  // namespace offshoot
