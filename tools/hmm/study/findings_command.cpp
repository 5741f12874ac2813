#include <fmt/core.h>

#include "engine/error.h"
#include "engine/file.h"
#include "tools/hmm/study/command.h"
#include "tools/hmm/study/findings.h"
#include "tools/support/options.h"

namespace offshoot {

int run_findings(int argc, const char* const* argv) {
  std::vector<std::string> files;
  std::string out;
  Options options(
      "offshoot-hmm findings",
      "What the studies' results say, as a page of Markdown: which claims hold, which do\n"
      "not, and what was found about open questions.");
  options.usage("[--out FILE] RESULTS.json...");
  options.add("results", &files, "results.json of studies; each study once");
  options.add("--out", &out, "file to write [the terminal]");
  if (!options.parse(argc, argv)) return 0;
  if (files.empty()) {
    throw UsageError("[offshoot-hmm findings] results: got none, expected results.json of studies");
  }
  std::vector<StudyResults> studies;
  for (const std::string& file : files) {
    try {
      studies.push_back(study_results_from_json(Json::read_file(file)));
    } catch (const Error& error) {
      const std::string_view text = error.what();
      if (text.find(file) != std::string_view::npos) throw;
      fail("findings", "{}: {}", file, text);
    }
    const std::string& name = studies.back().study;
    for (size_t i = 0; i + 1 < studies.size(); ++i) {
      if (studies[i].study != name) continue;
      throw UsageError(fmt::format(
          "[offshoot-hmm findings] {}: got another {}, expected each study once", file, name));
    }
  }
  const std::string page = findings_markdown(studies);
  if (out.empty()) {
    fmt::print("{}", page);
  } else {
    write_file(out, page);
  }
  return 0;
}

}  // namespace offshoot
