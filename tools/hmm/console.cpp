#include "tools/hmm/console.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/parallel.h"
#include "tools/hmm/method.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

constexpr std::string_view kNone = "-";

std::string decimals(double value, int count) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, count) : std::string(kNone);
}

// A mean over layers: whole where it can be.
std::string experts_text(double experts) {
  return decimals(experts, experts == std::floor(experts) ? 0 : 1);
}

// Four columns within 80.
std::string row(std::string_view name, std::string_view run, std::string_view mass = "",
                std::string_view dynmoe = "") {
  std::string line = fmt::format("  {:<32}{:>12}{:>15}{:>16}", name, run, mass, dynmoe);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + '\n';
}

std::string_view kind_text(PromptKind kind) {
  return kind == PromptKind::in_distribution ? "of the corpus's models" : "of models held out";
}

std::string place_text(const HmmConfig& config) {
  const Device device = parse_device(config.device);
  if (device.is_cuda()) return describe(device);
  return fmt::format("{} thread{}", num_threads(), num_threads() == 1 ? "" : "s");
}

}  // namespace

std::string opening(const HmmConfig& config, const HmmData& data, int64_t parameters,
                    const Terminal& terminal) {
  const Documents& train = data.corpus.train;
  std::string text = terminal.bold(method_text(config)) + '\n';
  text += fmt::format("model   {} block{}, width {}, {} heads, {} parameters, {}; {}\n",
                      config.layers, config.layers == 1 ? "" : "s", config.d_model, config.heads,
                      count_text(static_cast<double>(parameters)), config.precision,
                      place_text(config));
  text += fmt::format("corpus  {} documents of {} tokens, {}\n", train.count,
                      count_text(static_cast<double>(train.length)),
                      data.source.empty()
                          ? fmt::format("seed {}, HMM seed {}", config.seed, config.hmm_seed)
                          : data.source);
  if (const std::string growth = growth_text(config); !growth.empty()) {
    text += fmt::format("growth  {}\n", growth);
  }
  if (!config.idle.empty()) {
    text += fmt::format("unused  {}: nothing in this run looks at {}\n",
                        fmt::join(config.idle, ", "), config.idle.size() == 1 ? "it" : "them");
  }
  return text;
}

std::string event_line(const GrowthEvent& event, const std::vector<std::string>& layers,
                       const Terminal& terminal) {
  std::string what;
  switch (event.kind) {
    case GrowthEvent::Kind::expand:
      what = fmt::format("+ expert {} from {}", event.created, event.source);
      break;
    case GrowthEvent::Kind::keep:
      what = fmt::format("= expert {} stays", event.source);
      break;
    case GrowthEvent::Kind::reject:
      what = fmt::format("- expert {} goes", event.source);
      break;
    case GrowthEvent::Kind::stop:
      what =
          event.source < 0 ? "growth ends" : fmt::format("- expert {}, growth ends", event.source);
      break;
    case GrowthEvent::Kind::add:
      what = fmt::format("+ expert {}, new", event.created);
      break;
    case GrowthEvent::Kind::remove:
      what = fmt::format("- expert {}, idle", event.source);
      break;
  }
  what = fmt::format("{:<24}", what);
  if (event.created >= 0) {
    what = terminal.green(what);
  } else if (event.kind != GrowthEvent::Kind::keep) {
    what = terminal.red(what);
  }
  std::string line = fmt::format("step {:>5}  ", event.step);
  if (layers.size() > 1) {
    line += fmt::format("layer {}  ", std::ranges::find(layers, event.layer) - layers.begin());
  }
  line += fmt::format("{}K {:>3}", what, event.experts);
  if (std::isfinite(event.p_value)) line += fmt::format("  p {:.2g}", event.p_value);
  if (std::isfinite(event.cosine)) line += fmt::format("  cosine {:+.1e}", event.cosine);
  if (event.kind != GrowthEvent::Kind::expand && std::isfinite(event.gain)) {
    line += fmt::format("  probe's gain {:+.2g}", event.gain);
  }
  return line;
}

std::string result_table(const RunResult& result, const Terminal& terminal) {
  const Evaluation& evaluation = result.evaluation;
  const Floor& floor = result.floor;
  std::string text = terminal.bold(
      row(fmt::format("After {} steps", count_text(static_cast<double>(result.log.steps()))),
          "this run", "MASS, paper", "DynMoE, paper"));
  text += row("test loss (nats a token)", decimals(evaluation.loss, 4), "2.15", "2.18");
  text += row("exact Bayes floor", decimals(floor.exact, 4));
  text += row("loss above the floor", decimals(evaluation.loss - floor.exact, 4));
  text += row("experts K", experts_text(mean_experts(evaluation)), "12.4");
  text += row("active experts k", decimals(mean_active(evaluation), 2), "3.9", "4.7");
  text += row("JSD by entity (nats)", decimals(mean_jsd_entity(evaluation), 3));
  text += row("JSD by property (nats)", decimals(mean_jsd_property(evaluation), 3));
  text +=
      fmt::format("  Floor when only the last 1, 2, 3 tokens are known: {:.3f}, {:.3f}, {:.3f}\n",
                  floor.last[0], floor.last[1], floor.last[2]);
  text += terminal.dim(
      "  The paper's losses are of another corpus; its best fixed K is about 15,\n"
      "  at a loss of about 2.2. No model is below the exact floor in expectation.\n");
  text += fmt::format("  {:.0f} steps a second, {} of host memory at most\n",
                      result.measures.steps_per_second(),
                      bytes_text(static_cast<double>(result.measures.peak_memory_bytes)));
  return text;
}

std::string prompt_table(const std::vector<PromptScore>& scores, const Terminal& terminal) {
  std::string text;
  PromptKind kind{};
  int64_t length = -1, skipped = 0, impossible = 0;
  for (const PromptScore& score : scores) {
    if (length < 0 || score.kind != kind) {
      text +=
          terminal.bold(fmt::format("{}In-context prompts, {}: accuracy by number of examples\n",
                                    text.empty() ? "" : "\n\n", kind_text(score.kind)));
      text += "  examples ";
      for (const PromptScore& column : scores) {
        if (column.kind == score.kind && column.length == score.length) {
          text += fmt::format("{:>6}", column.examples);
        }
      }
      kind = score.kind;
      length = -1;
    }
    if (score.length != length) text += fmt::format("\n  length {:<2}", score.length);
    length = score.length;
    text += fmt::format("{:>6}", score.scored > 0 ? decimals(score.accuracy(), 2) : kNone);
    skipped += score.too_long;
    impossible += score.impossible;
  }
  return text +
         fmt::format("\n  {} prompts skipped as longer than the context, {} without a label\n",
                     count_text(static_cast<double>(skipped)),
                     count_text(static_cast<double>(impossible)));
}

}  // namespace offshoot
