// How a run went: what training logged step by step.
#include <algorithm>
#include <map>

#include "engine/error.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/text_plot.h"
#include "tools/support/text_table.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

constexpr int64_t kNarrowest = 40;
constexpr int64_t kLossHeight = 14;
constexpr int64_t kOtherHeight = 7;

TrainingLog need_metrics(const CheckpointReader& file) {
  std::optional<TrainingLog> log = metrics_of(file.h5());
  if (!log || log->steps() == 0) {
    const std::string fault = metrics_fault(file.h5());
    fail("inspect",
         "{}: has no metrics as offshoot-hmm keeps them (metrics/loss, auxiliary_loss, "
         "learning_rate, active_experts, experts/<layer>; test_steps, test_loss, events){}{}",
         file.path(), fault.empty() ? "" : ": ", fault);
  }
  return *std::move(log);
}

// Value i is of the step i + 1, counted as steps done.
std::vector<Point> points_from(const std::vector<double>& values) {
  std::vector<Point> points;
  for (size_t i = 0; i < values.size(); ++i) {
    points.push_back({static_cast<double>(i + 1), values[i]});
  }
  return points;
}

std::string title(const Terminal& terminal, std::string_view name, std::string_view rest) {
  return terminal.bold(name) + "  " + std::string(rest) + '\n';
}

std::string loss_text(const TrainingLog& log, const Terminal& terminal, TextPlot plot) {
  const int64_t window = std::max<int64_t>(1, log.steps() / 60);
  const std::vector<Point> mean = smooth(points_from(log.loss()), window);
  std::string rest = fmt::format("training {}", figure_text(log.loss().back(), 4));
  if (window > 1) rest += fmt::format(" (drawn: the moving mean of {} steps)", window);
  plot.height = kLossHeight;
  plot.curve = decimate_means(mean, 2 * plot.width);
  for (size_t i = 0; i < log.test_steps().size(); ++i) {
    plot.marks.push_back({static_cast<double>(log.test_steps()[i]), log.test_loss()[i]});
  }
  if (!plot.marks.empty()) rest += fmt::format(", test ○ {}", figure_text(plot.marks.back().y, 4));
  return title(terminal, "Loss", rest) + text_plot(plot);
}

std::string experts_text(const TrainingLog& log, const Terminal& terminal, TextPlot plot) {
  const auto layers = static_cast<double>(log.layers().size());
  std::string rest;
  for (size_t i = 0; i < log.layers().size(); ++i) {
    rest += fmt::format("{}{} {}", i == 0 ? "" : ", ", displayable(log.layers()[i]),
                        log.experts(i).back());
  }
  if (layers > 1) rest = "drawn: the mean; " + rest;
  plot.height = kOtherHeight;
  plot.steps = true;
  double before = -1;
  for (size_t step = 0; step < log.loss().size(); ++step) {
    double sum = 0;
    for (size_t i = 0; i < log.layers().size(); ++i) {
      sum += static_cast<double>(log.experts(i)[step]);
    }
    const double now = sum / layers;
    if (now != before || step + 1 == log.loss().size()) {
      plot.curve.push_back({static_cast<double>(step + 1), now});
    }
    before = now;
  }
  return title(terminal, "Experts K", cut_end(rest, plot.width - 11)) + text_plot(plot);
}

std::string active_text(const TrainingLog& log, const Terminal& terminal, TextPlot plot) {
  plot.height = kOtherHeight;
  plot.curve = decimate_means(points_from(log.active_experts()), 2 * plot.width);
  return title(terminal, "Active experts", figure_text(log.active_experts().back(), 2)) +
         text_plot(plot);
}

// A field of a CSV file (RFC 4180).
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

}  // namespace

std::string show_metrics(const CheckpointReader& file, const Terminal& terminal) {
  const TrainingLog log = need_metrics(file);
  TextPlot plot;
  plot.width = std::max<int64_t>(kNarrowest, terminal.width());
  plot.x_low = 0;
  plot.x_high = static_cast<double>(log.steps());
  std::string text = loss_text(log, terminal, plot);
  if (log.layers().empty()) return text;
  return text + '\n' + experts_text(log, terminal, plot) + '\n' + active_text(log, terminal, plot);
}

std::string metrics_csv(const CheckpointReader& file) {
  const TrainingLog log = need_metrics(file);
  std::string text = "step,loss,auxiliary_loss,learning_rate";
  if (!log.layers().empty()) text += ",active_experts";
  for (const std::string& layer : log.layers())
    text += ',' + csv_field("experts/" + displayable(layer));
  text += ",test_loss\n";
  std::map<int64_t, double> tests;  // by the steps done before them
  for (size_t i = 0; i < log.test_steps().size(); ++i) {
    tests[log.test_steps()[i]] = log.test_loss()[i];
  }
  for (size_t step = 0; step < log.loss().size(); ++step) {
    text += fmt::format("{},{},{},{}", step, log.loss()[step], log.auxiliary_loss()[step],
                        log.learning_rate()[step]);
    if (!log.layers().empty()) text += fmt::format(",{}", log.active_experts()[step]);
    for (size_t i = 0; i < log.layers().size(); ++i) {
      text += fmt::format(",{}", log.experts(i)[step]);
    }
    const auto test = tests.find(static_cast<int64_t>(step) + 1);
    text += test == tests.end() ? "," : fmt::format(",{}", test->second);
    text += '\n';
  }
  return text;
}

std::string metrics_json(const CheckpointReader& file) { return need_metrics(file).json_lines(); }

}  // namespace offshoot
