// The page a GINC run leaves behind: one HTML file without scripts and without anything fetched,
// which shows what the run found and how it got there. Plain data in, text out; what is not known
// (kUnknown, an empty vector) is shown as a dash or left out, so that a reader of a checkpoint, who
// knows less than the training loop, fills what it has.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace offshoot {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// A quantity over training; step[i] is the optimizer step (0-based) that value[i] belongs to.
// Rising steps. For K: the number of experts from that step on.
struct ReportCurve {
  std::vector<double> step;
  std::vector<double> value;
};

// One line of the event trace.
struct ReportEvent {
  int64_t step = 0;
  std::string kind;      // expand, keep, reject, stop; others are listed but not drawn
  int64_t source = -1;   // expand: the expert that drifted; keep, reject, stop: the expert probed
  int64_t created = -1;  // expand: the newborn
  double p_value = kUnknown;
  double cosine = kUnknown;
  double gain = kUnknown;  // probe's task loss - training forward's, nats
};

// An expert's life. Ids are given in order of birth and never again.
struct ReportExpert {
  int64_t id = 0;
  int64_t parent = -1;   // -1: there from the beginning
  int64_t born = 0;      // step
  int64_t removed = -1;  // step; -1: lives
  double p_value = kUnknown;
  double cosine = kUnknown;
  double gain = kUnknown;  // of its last probe
};

// The lives that an event trace tells: `initial` experts at step 0, newborns by expand, deaths by
// reject (and by stop when it removed its expert: then K fell, and `stop_removes` is true).
std::vector<ReportExpert> lineage_from_events(int64_t initial,
                                              const std::vector<ReportEvent>& events,
                                              bool stop_removes);

// What the living experts do on the test set.
struct ReportRouting {
  std::vector<int64_t> expert_ids;  // [K], ascending
  std::vector<double> tokens;       // [K], tokens that kept the expert
  double total_tokens = kUnknown;   // routed tokens in all; the bars are shares of it
  int64_t entities = 0;
  int64_t properties = 0;
  std::vector<double> by_entity;    // [K, entities], mean combine weight
  std::vector<double> by_property;  // [K, properties]
};

// Jensen-Shannon divergence per label, nats (MASS, arXiv 2512.19765).
struct ReportDivergence {
  double entity = kUnknown;
  double property = kUnknown;
};

struct ReportLayer {
  int64_t index = 0;  // in the model
  double experts_initial = kUnknown;
  double experts = kUnknown;         // K at the end
  double active_experts = kUnknown;  // mean per token on the test set
  ReportCurve experts_curve;         // changes suffice
  std::vector<ReportExpert> lineage;
  std::vector<ReportEvent> events;
  ReportRouting routing;
  ReportDivergence sparse;         // sparse combine weights, labels weighted equally
  ReportDivergence weighted;       // labels weighted by their share of tokens
  ReportDivergence probabilities;  // over the router's probabilities
};

// Where the numbers come from.
struct ReportProvenance {
  std::string engine_version;
  std::string build;    // compiler, type, sanitizers
  std::string machine;  // processor, system
  std::string command;
  std::string finished;  // date and time
  double threads = kUnknown;
  double seconds = kUnknown;  // training loop only
  double steps_per_second = kUnknown;
  double peak_memory_bytes = kUnknown;
};

struct ReportData {
  std::string method;   // mass, topk, topp, dense
  std::string preset;   // paper, reference; empty where there is none
  std::string routing;  // how tokens choose: "top-p, p = 0.9"; empty for dense
  double seed = kUnknown;
  double steps_planned = kUnknown;
  double steps_done = kUnknown;
  double phase_begin = kUnknown;  // expansion phase [begin, end), steps
  double phase_end = kUnknown;

  double test_loss = kUnknown;  // nats per token
  double floor = kUnknown;      // exact Bayes floor of the same test set
  std::array<double, 3> floor_last = {kUnknown, kUnknown, kUnknown};  // last 1, 2, 3 tokens known
  double experts = kUnknown;                                          // mean over layers
  double active_experts = kUnknown;                                   // mean over layers
  ReportDivergence jsd;                                               // sparse, means over layers

  ReportCurve train_loss;
  ReportCurve active_curve;     // per training step, mean over layers
  ReportCurve test_loss_curve;  // where the run was tested on the way
  std::vector<ReportLayer> layers;
  std::vector<std::pair<std::string, std::string>> configuration;
  ReportProvenance provenance;
};

std::string report_html(const ReportData& data);

}  // namespace offshoot
