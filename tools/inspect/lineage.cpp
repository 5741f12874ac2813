// Who came from whom: each layer's experts as a tree.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "engine/error.h"
#include "engine/growth_state.h"
#include "tools/inspect/contents.h"
#include "tools/support/text_table.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

constexpr int64_t kDeepest = 40;  // generations that are indented
constexpr size_t kMostNoted = 8;  // columns of what else was noted
constexpr int64_t kLongest = 16;  // columns of a name

// Tokens of the test set by expert id, of the report's layer.
struct Served {
  std::map<int64_t, double> tokens;
  double all = kUnknown;
};

std::vector<Served> served_of(const H5Reader& h5) {
  std::vector<Served> layers;
  const std::optional<ReportData> report = report_of(h5);
  if (!report) return layers;
  for (const ReportLayer& layer : report->layers) {
    Served served;
    served.all = layer.routing.total_tokens;
    for (size_t i = 0; i < layer.routing.expert_ids.size(); ++i) {
      served.tokens[layer.routing.expert_ids[i]] = layer.routing.tokens[i];
    }
    layers.push_back(std::move(served));
  }
  return layers;
}

// The log's events tell what an expert's own last probe gained; the table beside the model has what
// was known at its birth.
void take_gains(const TrainingLog& log, const std::string& layer, std::vector<ExpertLife>& lives) {
  std::map<int64_t, double> gains;
  for (const GrowthEvent& event : log.events()) {
    if (event.layer != layer || event.kind == GrowthEvent::Kind::expand) continue;
    if (std::isfinite(event.gain)) gains[event.source] = event.gain;
  }
  for (ExpertLife& life : lives) {
    const auto gain = gains.find(life.id);
    life.gain = gain == gains.end() ? kUnknown : gain->second;
  }
}

// Who decided on an expert's birth, and on its death where that was another, by id; empty when it
// was MASS each time.
std::map<int64_t, std::string> policies_of(const H5Reader& h5, const std::string& layer) {
  if (!h5.has("growth/" + layer + "/log")) return {};
  std::map<int64_t, std::string> policies;
  bool others = false;
  std::vector<std::string> asked;
  for (const Edit& edit : read_growth(h5, layer, asked).log) {
    const bool death = edit.kind == RowChange::Kind::remove;
    std::string& policy = policies[death ? edit.source_id : edit.new_id];
    if (edit.note.policy.empty() || policy == edit.note.policy) continue;
    policy += (policy.empty() ? "" : ", ") + edit.note.policy;
    others = others || edit.note.policy != "mass";
  }
  return others ? policies : std::map<int64_t, std::string>();
}

struct LayerFacts {
  LayerLives lives;
  const Served* served = nullptr;
  std::map<int64_t, std::string> policies = {};
};

class LineageTable {
 public:
  explicit LineageTable(const LayerFacts& facts)
      : facts_(facts),
        lives_(facts.lives.experts),
        noted_(std::min(kMostNoted, facts.lives.noted.size())),
        table_(columns()) {
    std::map<int64_t, size_t> by_id;
    for (size_t i = 0; i < lives_.size(); ++i) by_id[lives_[i].id] = i;
    std::map<size_t, std::vector<size_t>> children;
    std::vector<Branch> open;  // the next one last
    for (size_t i = lives_.size(); i-- > 0;) {
      // Ids are given in order of birth, so whoever names a later one as its parent is in error.
      const auto parent = by_id.find(lives_[i].parent);
      if (parent != by_id.end() && lives_[i].parent < lives_[i].id) {
        children[parent->second].push_back(i);
      } else {
        open.push_back({i, 0, "", ""});
      }
    }
    // The last ones come first in both lists. No recursion: a chain may be as long as a file.
    while (!open.empty()) {
      const Branch branch = std::move(open.back());
      open.pop_back();
      add(branch);
      const std::vector<size_t>& below = children[branch.index];
      for (size_t i = 0; i < below.size(); ++i) {
        const bool last = i == 0;
        Branch child{below[i], branch.depth + 1, branch.below + (last ? "└─" : "├─"), branch.below};
        if (child.depth < kDeepest) child.below += last ? "  " : "│ ";
        open.push_back(std::move(child));
      }
    }
  }

  const TextTable& table() const { return table_; }
  bool has(double ExpertLife::*value) const {
    return std::ranges::any_of(lives_, [&](const auto& l) { return std::isfinite(l.*value); });
  }

 private:
  // `here` stands before the expert, `below` before its children.
  struct Branch {
    size_t index;
    int64_t depth;
    std::string here;
    std::string below;
  };

  std::vector<TextTable::Column> columns() const {
    std::vector<TextTable::Column> all{{"expert", TextTable::Align::left},
                                       {"parent"},
                                       {"born"},
                                       {"died"},
                                       {"p-value"},
                                       {"cosine"},
                                       {"gain"},
                                       {"tokens"},
                                       {"share"}};
    for (size_t i = 0; i < noted_; ++i) {
      all.push_back({cut_end(displayable(facts_.lives.noted[i]), kLongest)});
    }
    all.push_back({"policy", TextTable::Align::left});
    return all;
  }

  void add(const Branch& branch) {
    const ExpertLife& life = lives_[branch.index];
    const bool dead = life.died >= 0;
    const auto known = [](double value, std::string text) {
      return std::isfinite(value) ? std::move(text) : std::string();
    };
    std::string tokens, share;
    if (facts_.served != nullptr && facts_.served->tokens.contains(life.id)) {
      const double count = facts_.served->tokens.at(life.id);
      tokens = count_text(count);
      share = share_text(count / facts_.served->all);
    }
    std::vector<std::string> cells{
        branch.here + fmt::format("{}", life.id),
        branch.depth > kDeepest ? fmt::format("{}", life.parent) : "",
        life.parent < 0 ? "start" : count_text(static_cast<double>(life.born)),
        dead ? count_text(static_cast<double>(life.died)) : "",
        known(life.p_value, probability_text(life.p_value)),
        known(life.cosine, signed_text(life.cosine, 4)),
        known(life.gain, signed_text(life.gain, 4)),
        tokens,
        share};
    for (size_t i = 0; i < noted_; ++i) {
      cells.push_back(known(life.noted[i], fmt::format("{:.4g}", life.noted[i])));
    }
    const auto policy = facts_.policies.find(life.id);
    cells.push_back(
        policy == facts_.policies.end() ? "" : cut_end(displayable(policy->second), 2 * kLongest));
    table_.row(std::move(cells), dead ? TextTable::Weight::faint : TextTable::Weight::normal);
  }

  const LayerFacts& facts_;
  const std::vector<ExpertLife>& lives_;
  size_t noted_;
  TextTable table_;
};

// What the columns are.
struct Legend {
  bool drift = false;
  bool cosine = false;
  bool gain = false;
  bool tokens = false;

  std::string text() const {
    std::string lines;
    if (drift) {
      lines +=
          "p-value: chance that the parent's gradient norms rose so without drift, at the birth\n";
    }
    if (cosine) {
      lines += "cosine: of the parent's weights and their gradient then; near 0 is drift\n";
    }
    if (gain) {
      lines += "gain: the probe's task loss without the expert minus the loss with it, nats\n";
    }
    if (tokens) {
      lines +=
          "tokens: of the test set that kept the expert, at the end of the run; shares add up to\n"
          "        the experts active for a token\n";
    }
    return lines;
  }
};

}  // namespace

std::string show_lineage(const CheckpointReader& file, const Terminal& terminal) {
  const H5Reader& h5 = file.h5();
  const std::vector<std::string> layers = names_below(h5, "lineage");
  if (layers.empty()) fail("inspect", "{}: has no layers with experts", file.path());
  std::set<std::string> missing;
  // What stands beside the lineage may be another program's, or damaged.
  const auto attempt = [&](std::string_view what, const auto& read) {
    try {
      read();
    } catch (const Error& error) {
      missing.insert(fmt::format("{} could not be read: {}\n", what,
                                 displayable(reason_of(error, file.path()))));
    }
  };
  std::vector<Served> served;
  attempt("tokens", [&] { served = served_of(h5); });
  std::optional<TrainingLog> log;
  attempt("gains of probes", [&] {
    const std::string fault = metrics_fault(h5);
    if (!fault.empty()) fail("inspect", "{}", fault);
    log = metrics_of(h5);
  });
  std::string text;
  Legend legend;
  for (size_t i = 0; i < layers.size(); ++i) {
    LayerFacts facts{lives_of(h5, layers[i]), i < served.size() ? &served[i] : nullptr};
    if (log) take_gains(*log, layers[i], facts.lives.experts);
    attempt("policies", [&] { facts.policies = policies_of(h5, layers[i]); });
    const std::vector<ExpertLife>& lives = facts.lives.experts;
    const auto alive = std::ranges::count_if(lives, [](const auto& l) { return l.died < 0; });
    if (i > 0) text += '\n';
    text += terminal.bold(displayable(layers[i])) +
            fmt::format("  {} experts, {} ever lived\n", alive, lives.size());
    const LineageTable lineage(facts);
    text += lineage.table().render(terminal, 2, text_width(terminal));
    legend.drift = legend.drift || lineage.has(&ExpertLife::p_value);
    legend.cosine = legend.cosine || lineage.has(&ExpertLife::cosine);
    legend.gain = legend.gain || lineage.has(&ExpertLife::gain);
  }
  legend.tokens = !served.empty();
  std::string below = legend.text();
  for (const std::string& line : missing) below += line;
  if (below.empty()) return text;
  text += '\n';
  for (size_t at = 0; at < below.size();) {  // dim line by line
    const size_t end = below.find('\n', at);
    text += terminal.dim(below.substr(at, end - at)) + '\n';
    at = end + 1;
  }
  return text;
}

}  // namespace offshoot
