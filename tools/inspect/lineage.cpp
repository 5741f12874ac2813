// Who came from whom: each layer's experts as a tree.
#include <algorithm>
#include <cmath>
#include <map>

#include "engine/error.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/text_table.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

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
  for (ExpertLife& life : lives) life.gain = kUnknown;
  for (const GrowthEvent& event : log.events()) {
    if (event.layer != layer || event.kind == GrowthEvent::Kind::expand) continue;
    for (ExpertLife& life : lives) {
      if (life.id == event.source && std::isfinite(event.gain)) life.gain = event.gain;
    }
  }
}

class LineageTable {
 public:
  LineageTable(const std::vector<ExpertLife>& lives, const Served* served)
      : lives_(lives), served_(served) {
    for (size_t i = 0; i < lives.size(); ++i) by_id_[lives[i].id] = i;
    for (size_t i = 0; i < lives.size(); ++i) {
      // Ids are given in order of birth, so whoever names a later one as its parent is in error.
      const bool has_parent = lives[i].parent < lives[i].id && by_id_.contains(lives[i].parent);
      (has_parent ? children_[by_id_[lives[i].parent]] : roots_).push_back(i);
    }
  }

  TextTable table() {
    for (const size_t root : roots_) add(root, "", "");
    return std::move(table_);
  }

 private:
  // `here` stands before the expert, `below` before its children.
  void add(size_t index, const std::string& here, const std::string& below) {
    const ExpertLife& life = lives_[index];
    const bool dead = life.died >= 0;
    const bool founder = life.parent < 0;
    const auto known = [](double value, std::string text) {
      return std::isfinite(value) ? std::move(text) : std::string();
    };
    std::string tokens, share;
    if (served_ != nullptr && served_->tokens.contains(life.id)) {
      const double count = served_->tokens.at(life.id);
      tokens = count_text(count);
      share = share_text(count / served_->all);
    }
    table_.row({here + fmt::format("{}", life.id),
                founder ? "start" : count_text(static_cast<double>(life.born)),
                dead ? count_text(static_cast<double>(life.died)) : "",
                known(life.p_value, probability_text(life.p_value)),
                known(life.cosine, signed_text(life.cosine, 4)),
                known(life.gain, signed_text(life.gain, 4)), tokens, share},
               dead ? TextTable::Weight::faint : TextTable::Weight::normal);
    const std::vector<size_t>& children = children_[index];
    for (size_t i = 0; i < children.size(); ++i) {
      const bool last = i + 1 == children.size();
      add(children[i], below + (last ? "└─" : "├─"), below + (last ? "  " : "│ "));
    }
  }

  const std::vector<ExpertLife>& lives_;
  const Served* served_;
  std::map<int64_t, size_t> by_id_;
  std::map<size_t, std::vector<size_t>> children_;
  std::vector<size_t> roots_;
  TextTable table_{{{"expert", TextTable::Align::left},
                    {"born"},
                    {"died"},
                    {"p-value"},
                    {"cosine"},
                    {"gain"},
                    {"tokens"},
                    {"share"}}};
};

}  // namespace

std::string show_lineage(const CheckpointReader& file, const Terminal& terminal) {
  const H5Reader& h5 = file.h5();
  const std::vector<std::string> layers = names_below(h5, "lineage");
  if (layers.empty()) fail("inspect", "{}: has no layers with experts", file.path());
  const std::vector<Served> served = served_of(h5);
  const std::optional<TrainingLog> log = metrics_of(h5);
  std::string text;
  for (size_t i = 0; i < layers.size(); ++i) {
    std::vector<ExpertLife> lives = lives_of(h5, layers[i]);
    if (log) take_gains(*log, layers[i], lives);
    const auto alive = std::ranges::count_if(lives, [](const auto& l) { return l.died < 0; });
    if (i > 0) text += '\n';
    text += terminal.bold(displayable(layers[i])) +
            fmt::format("  {} experts, {} ever lived\n", alive, lives.size());
    LineageTable lineage(lives, i < served.size() ? &served[i] : nullptr);
    text += lineage.table().render(terminal, 2, text_width(terminal));
  }
  if (!served.empty()) {
    text += terminal.dim("\ntokens: of the test set that kept the expert, at the end of the run\n");
  }
  return text;
}

}  // namespace offshoot
