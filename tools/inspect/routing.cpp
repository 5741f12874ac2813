// What the experts do: a heat map of experts and labels in the terminal.
#include <algorithm>
#include <array>
#include <cmath>

#include "engine/error.h"
#include "tools/inspect/contents.h"
#include "tools/support/text_table.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

constexpr int64_t kCell = 5;    // columns
constexpr int64_t kNames = 10;  // columns of "expert 123"

// Colours of the 256, dark to bright as viridis; each with a text colour that can be read on it
// whatever the terminal's own colours are. What is next to nothing has none.
struct Shade {
  int background;
  int text;
};
constexpr std::array<Shade, 7> kShades{
    {{54, 255}, {24, 255}, {30, 255}, {36, 16}, {77, 16}, {149, 16}, {226, 16}}};

std::string cell(double value, double most, const Terminal& terminal) {
  if (!std::isfinite(value)) return pad_left(kMissing, kCell);
  const std::string text = pad_left(number_text(100 * value, 0), kCell - 1) + ' ';
  const double share = most > 0 ? value / most : 0;
  if (!terminal.colour()) return text;
  if (share < 0.02) return terminal.dim(text);
  const auto level = static_cast<size_t>(
      std::clamp(share * kShades.size(), 0.0, static_cast<double>(kShades.size() - 1)));
  return fmt::format("\x1b[48;5;{}m\x1b[38;5;{}m{}\x1b[0m", kShades[level].background,
                     kShades[level].text, text);
}

// As many labels beside one another as fit; the rest below.
std::string heat_map(const ReportRouting& routing, const std::vector<double>& values,
                     int64_t labels, std::string_view label, const Terminal& terminal) {
  if (labels <= 0 || routing.expert_ids.empty()) return "";
  double most = 0;
  for (const double value : values) {
    if (std::isfinite(value)) most = std::max(most, value);
  }
  const int64_t fit = std::max<int64_t>(1, (terminal.width() - 2 - kNames) / kCell);
  std::string text;
  for (int64_t from = 0; from < labels; from += fit) {
    const int64_t to = std::min(labels, from + fit);
    std::string head = pad_right(label, kNames);
    for (int64_t c = from; c < to; ++c) head += pad_left(fmt::format("{}", c), kCell - 1) + ' ';
    text += "  " + terminal.dim(head) + '\n';
    for (size_t r = 0; r < routing.expert_ids.size(); ++r) {
      text += "  " + pad_right(fmt::format("expert {}", routing.expert_ids[r]), kNames);
      for (int64_t c = from; c < to; ++c) {
        text +=
            cell(values[r * static_cast<size_t>(labels) + static_cast<size_t>(c)], most, terminal);
      }
      text += '\n';
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string show_routing(const CheckpointReader& file, const Terminal& terminal) {
  const ReportData report = need_report(file.h5());
  if (report.layers.empty()) fail("inspect", "{}: has no layers with experts", file.path());
  const std::vector<LayerExperts> names = layers_of(file.h5());
  std::string text;
  for (size_t i = 0; i < report.layers.size(); ++i) {
    const ReportLayer& layer = report.layers[i];
    text += terminal.bold(i < names.size() ? displayable(names[i].name)
                                           : fmt::format("layer {}", layer.index));
    text += fmt::format("  {} experts, {} active for a token\n\n", layer.routing.expert_ids.size(),
                        number_text(layer.active_experts, 2));
    text += heat_map(layer.routing, layer.routing.by_entity, layer.routing.entities, "entity",
                     terminal);
    text += heat_map(layer.routing, layer.routing.by_property, layer.routing.properties, "property",
                     terminal);
  }
  return text +
         terminal.dim(
             "mean weight of the expert for the label's tokens of the test set, %; "
             "property 0 is the delimiter") +
         '\n';
}

}  // namespace offshoot
