// What a layer's experts do: routing_figure of report_figures.h.
#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "tools/hmm/report_figures.h"
#include "tools/hmm/report_parts.h"

namespace offshoot {
namespace {

constexpr double kWidth = 1040;

double greatest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) {
    if (known(value)) most = std::max(most, value);
  }
  return most;
}

void draw_scale(Markup& svg, double left, double y, double full) {
  constexpr int kSteps = 8;
  svg_text(svg, left, y + 10, "tick", "0");
  for (int i = 0; i < kSteps; ++i) {
    svg.empty("rect", {{"class", "cell"},
                       {"x", svg_number(left + 14 + 14 * i)},
                       {"y", svg_number(y)},
                       {"width", "14"},
                       {"height", "12"},
                       {"fill-opacity", fmt::format("{:.2f}", 0.04 + 0.96 * i / (kSteps - 1))}});
  }
  svg_text(svg, left + 20 + 14 * kSteps, y + 10, "tick", number_text(full, 2));
}

void draw_token_bars(Markup& svg, const ReportRouting& routing, double left, double top,
                     double height) {
  const double room = kWidth - left - 52;
  double most = greatest(routing.tokens);
  if (!(most > 0)) most = 1;
  for (size_t i = 0; i < routing.tokens.size(); ++i) {
    const double y = top + static_cast<double>(i) * height;
    const double tokens = routing.tokens[i];
    const double length = known(tokens) ? room * tokens / most : 0;
    svg.open("g").element(
        "title", {},
        fmt::format("expert {}: {} tokens", routing.expert_ids[i], count_text(tokens)));
    svg_rect(svg, left, y + 0.2 * height, length, 0.6 * height, "bar");
    const bool shares = routing.total_tokens > 0;
    svg_text(svg, left + length + 6, y + height / 2 + 4, height < 14 ? "tick small" : "tick",
             shares ? share_text(tokens / routing.total_tokens) : count_text(tokens));
    svg.close();
  }
}

}  // namespace

std::string routing_figure(const ReportLayer& layer) {
  const ReportRouting& routing = layer.routing;
  const size_t rows = routing.expert_ids.size();
  if (rows == 0 ||
      (routing.tokens.empty() && routing.by_entity.empty() && routing.by_property.empty())) {
    return {};
  }
  const double height = rows <= 24 ? 23 : rows <= 64 ? 15 : 11;
  constexpr double kTop = 50;
  double full = std::max(greatest(routing.by_entity), greatest(routing.by_property));
  if (!(full > 0)) full = 1;
  std::vector<std::string> names;
  for (const int64_t id : routing.expert_ids) names.push_back(fmt::format("expert {}", id));

  Markup svg;
  const double bottom = kTop + static_cast<double>(rows) * height;
  open_svg(svg, kWidth, bottom + 30,
           fmt::format("Layer {}: mean combine weight of each expert by entity and by property, "
                       "and tokens per expert",
                       layer.index));
  svg_text(svg, 0, kTop - 7, "tick", "expert");
  for (size_t i = 0; i < rows; ++i) {
    svg_text(svg, 30, kTop + (static_cast<double>(i) + 0.5) * height + 4,
             height < 14 ? "id end small" : "id end", fmt::format("{}", routing.expert_ids[i]));
  }
  double left = 48;
  const auto map = [&](const std::vector<double>& values, int64_t columns, std::string name,
                       std::string_view title) {
    if (values.empty() || columns <= 0) return;
    const double cell = std::min(34.0, 350 / static_cast<double>(columns));
    svg_text(svg, left, 16, "panel-title", title);
    draw_heat_map(
        svg,
        {static_cast<int64_t>(rows), columns, values, names, std::move(name), cell, height, full},
        left, kTop);
    left += cell * static_cast<double>(columns) + 36;
  };
  map(routing.by_entity, routing.entities, "entity", "Combine weight by entity");
  map(routing.by_property, routing.properties, "property", "by property");
  if (left > 48) draw_scale(svg, 48, bottom + 12, full);
  if (routing.tokens.size() == rows) {
    svg_text(svg, left, 16, "panel-title", "Tokens that keep the expert");
    draw_token_bars(svg, routing, left, kTop, height);
  }
  return svg.close().take();
}

}  // namespace offshoot
