#include "tools/hmm/study/page.h"

#include <cmath>

#include "tools/hmm/report_style.h"
#include "tools/hmm/study/findings.h"
#include "tools/hmm/study/page_parts.h"
#include "tools/hmm/study/page_style.h"

namespace offshoot {
namespace {

void tile(Markup& page, std::string_view name, std::string_view value) {
  page.open("div").element("dt", {}, name).element("dd", {}, value).close();
}

void write_header(Markup& page, const StudyResults& results) {
  page.open("header");
  page.element("p", {{"class", "eyebrow"}},
               fmt::format("Offshoot · GINC · study {}", results.study));
  page.element("h1", {}, results.title);
  if (!results.question.empty()) page.element("p", {{"class", "lede"}}, results.question);
  if (results.quick) {
    page.element("p", {{"class", "quick"}},
                 "A quick run: a tiny model for a few steps, which shows that the study works. Its "
                 "figures say nothing about the methods.");
  }
  size_t runs = 0;
  for (const StudyCell& cell : results.cells) runs += cell.runs.size();
  page.open("dl", {{"class", "tiles"}});
  tile(page, "Configurations", count_text(static_cast<double>(results.cells.size())));
  tile(page, "Seeds each", count_text(static_cast<double>(results.seeds.size())));
  tile(page, "Runs", count_text(static_cast<double>(runs)));
  tile(page, "Steps a run", count_text(static_cast<double>(results.steps)));
  const double floor = common_floor(results);
  if (std::isfinite(floor)) tile(page, "Exact floor, nats", number_text(floor, 3));
  page.close().close();
}

std::string_view css_of(Verdict verdict) {
  return verdict == Verdict::holds ? "holds" : verdict == Verdict::fails ? "fails" : "unclear";
}

void write_findings(Markup& page, const StudyResults& results) {
  const std::vector<Finding> findings = findings_of(results);
  if (findings.empty()) return;
  open_section(page, "What was found",
               "Sentences chosen by the numbers. In brackets: 95% confidence intervals over the "
               "seeds; differences are taken seed by seed. No correction is made for their number: "
               "of all that are without a difference 5% leave 0 out by chance.");
  page.open("ul", {{"class", "findings"}});
  for (const Finding& finding : findings) {
    page.open("li");
    if (finding.verdict != Verdict::found) {
      page.element(
          "span", {{"class", fmt::format("verdict {}", css_of(finding.verdict))}},
          finding.verdict == Verdict::unclear ? "Within the noise" : to_string(finding.verdict));
    } else {
      page.element("span", {{"class", "verdict unclear"}},
                   finding.kind == FindingKind::open ? "Open question" : "Not judged");
    }
    page.element("span", {{"class", "question"}},
                 finding.question + (finding.question.ends_with("?") ? " " : ". "));
    page.text(finding.text);
    if (!finding.items.empty()) {
      page.open("ul");
      for (const std::string& item : finding.items) page.element("li", {}, item);
      page.close();
    }
    page.close();
  }
  page.close().close();
}

void write_study(Markup& page, const StudyResults& results) {
  if (results.study == "paper") write_paper(page, results);
  if (results.study == "ablate") write_ablate(page, results);
  if (results.study == "drift") write_drift(page, results);
  if (results.study == "noise") write_noise(page, results);
  if (results.study == "overhead") write_overhead(page, results);
  if (results.study == "need") write_need(page, results);
}

}  // namespace

std::string study_page(const StudyResults& results) {
  Markup page;
  page.raw("<!doctype html>\n").open("html", {{"lang", "en"}}).open("head");
  page.empty("meta", {{"charset", "utf-8"}});
  page.empty("meta", {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}});
  // An empty icon, or a browser would ask the server for one.
  page.empty("link", {{"rel", "icon"}, {"href", "data:,"}});
  page.element("title", {}, fmt::format("{} · Offshoot", results.title));
  page.open("style").raw(kReportStyle).raw(kStudyStyle).close().close();
  page.open("body").open("main");
  write_header(page, results);
  write_findings(page, results);
  write_study(page, results);
  open_section(page, "All configurations");
  write_study_table(page, results);
  page.close();
  page.open("footer").element("code", {}, results.command);
  if (!results.engine_version.empty()) page.text(" · Offshoot " + results.engine_version);
  page.close();
  return page.close().close().close().take();
}

}  // namespace offshoot
