#include "tests/tools/inspect_run.h"

#include "tools/hmm/report_json.h"
#include "tools/hmm/result.h"

namespace offshoot::testing {

ReportData save_finished_run(const std::string& path, QuickRun& run) {
  run.train(40);
  run.log.add_test(40, 3.5);
  const Json configuration =
      Json::object({{"method", "mass"}, {"steps", 40}, {"layers", run.config.layers}, {"lr", 0.5}});
  RunResult result{.config = run.config, .configuration = configuration, .log = run.log};
  result.evaluation = evaluate(run.trainer.model(), run.data.corpus);
  result.floor = floor_of(run.data.corpus);
  result.measures = {40, 0.5, 0.01, 1 << 20};
  result.command = "offshoot-hmm --quick";
  ReportData report = report_data(result);
  run.report = report_json(report).dump();
  Provenance where = provenance();
  where.emplace_back("command", result.command);
  where.emplace_back("report", report_provenance_json(report.provenance).dump());
  save_run(path, run.state(), configuration, where);
  return report;
}

}  // namespace offshoot::testing
