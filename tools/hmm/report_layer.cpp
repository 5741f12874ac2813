// The report's section of one layer: how it grew and what its experts do.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "tools/hmm/report_figures.h"
#include "tools/hmm/report_parts.h"

namespace offshoot {
namespace {

constexpr size_t kMostEvents = 300;

void write_growth(Markup& page, const ReportData& data, const ReportLayer& layer) {
  const std::string figure = growth_figure(data, layer);
  if (figure.empty()) {
    if (known(layer.experts)) {
      page.element(
          "p", {},
          fmt::format("The number of experts is {} throughout.", count_text(layer.experts)));
    }
    return;
  }
  std::string caption =
      "Every line of the tree is an expert's life; a newborn leaves its parent's line at the step "
      "of its birth, and a cross ends a life. Hold the pointer on a line or a mark for its "
      "p-value, cosine and gain.";
  if (growth_is_focused(data, layer)) {
    caption += " The step axis is stretched between the two breaks, where the events are.";
  }
  page.element("h3", {}, "How it grew").open("figure").raw(figure);
  page.element("figcaption", {}, caption).close();
}

void write_specialization(Markup& page, const ReportLayer& layer) {
  const std::array<std::pair<std::string_view, ReportDivergence>, 3> rows = {
      {{"Combine weights, labels equal", layer.sparse},
       {"Combine weights, labels by share of tokens", layer.weighted},
       {"Router probabilities", layer.probabilities}}};
  const bool some = std::any_of(rows.begin(), rows.end(), [](const auto& entry) {
    return known(entry.second.entity) || known(entry.second.property);
  });
  if (!some) return;
  const double log_experts = layer.experts > 1 ? std::log(layer.experts) : kUnknown;
  page.element("h3", {}, "Specialization");
  page.element("p", {{"class", "note"}},
               "Jensen-Shannon divergence between the expert use of the labels: 0 when every label "
               "is spread alike, ln K at most.");
  page.open("div", {{"class", "scroll"}}).open("table");
  table_head(page, {"JSD, nats", "Entity", "Property", "Entity / ln K", "Property / ln K"});
  page.open("tbody");
  for (const auto& [name, jsd] : rows) {
    table_row(
        page, "",
        {std::string(name), number_text(jsd.entity, 3), number_text(jsd.property, 3),
         number_text(jsd.entity / log_experts, 3), number_text(jsd.property / log_experts, 3)});
  }
  page.close().close().close();
}

std::string experts_of(const ReportEvent& event) {
  if (event.created >= 0) return fmt::format("{} from {}", event.created, event.source);
  return event.source >= 0 ? fmt::format("{}", event.source) : std::string(kMissing);
}

void write_events(Markup& page, const ReportLayer& layer) {
  if (layer.events.empty()) return;
  page.element("h3", {}, "Events").open("div", {{"class", "scroll"}});
  page.open("table", {{"class", "events"}});
  table_head(page, {"Step", "Event", "Expert", "p-value", "Cosine", "Gain, nats"});
  page.open("tbody");
  const size_t shown = std::min(layer.events.size(), kMostEvents);
  for (size_t i = 0; i < shown; ++i) {
    const ReportEvent& event = layer.events[i];
    table_row(page, "",
              {count_text(static_cast<double>(event.step)), event.kind, experts_of(event),
               probability_text(event.p_value), probability_text(event.cosine),
               signed_text(event.gain, 5)});
  }
  page.close().close().close();
  if (shown < layer.events.size()) {
    page.element("p", {{"class", "note"}},
                 fmt::format("The first {} of {} events.", shown, layer.events.size()));
  }
}

}  // namespace

void write_active(Markup& page, const ReportData& data) {
  if (!any_known(data.active_curve)) return;
  const std::vector<Point> raw = points_of(data.active_curve);
  const auto [least, most] = std::minmax_element(
      raw.begin(), raw.end(),
      [](const Point& a, const Point& b) { return known(b.y) && (!known(a.y) || a.y < b.y); });
  if (known(least->y) && least->y == most->y) {
    page.element("p", {},
                 fmt::format("Every token is given to {} experts.", number_text(least->y, 0)));
    return;
  }
  const int64_t window = std::max<int64_t>(1, static_cast<int64_t>(raw.size()) / 100);
  LinePlot plot;
  plot.description = "Mean active experts a token over steps";
  plot.height = 210;
  plot.x_title = "step";
  plot.y_title = data.layers.size() > 1
                     ? "Active experts k, mean over the batch's tokens and the layers"
                     : "Active experts k, mean over the batch's tokens";
  plot.x_high = steps_of(data);
  plot.y_from_zero = true;
  plot.y_decimals = 2;
  plot.bands = phase_band(data);
  plot.curves.push_back({"", "c1", CurveStyle::kRaw, decimate_extremes(raw, kRawBuckets / 2)});
  std::vector<Point> mean = decimate_means(smooth(raw, window), kLineBuckets);
  const auto end =
      std::find_if(mean.rbegin(), mean.rend(), [](const Point& point) { return known(point.y); });
  plot.curves.push_back(
      {"training  " + number_text(end->y, 2), "c1", CurveStyle::kLine, std::move(mean)});
  if (known(data.active_experts) && known(data.steps_done)) {
    plot.curves.push_back({"test  " + number_text(data.active_experts, 2),
                           "c3",
                           CurveStyle::kDots,
                           {{data.steps_done, data.active_experts}}});
  }
  page.element("h3", {}, "Active experts").open("figure").raw(line_plot(plot)).close();
}

void write_layer(Markup& page, const ReportData& data, const ReportLayer& layer) {
  page.open("section");
  page.element("h2", {},
               data.layers.size() > 1 ? fmt::format("Experts of layer {}", layer.index)
                                      : std::string("Experts"));
  write_growth(page, data, layer);
  if (data.layers.size() == 1) write_active(page, data);
  const std::string routing = routing_figure(layer);
  if (!routing.empty()) {
    page.element("h3", {}, "What each expert does").open("figure").raw(routing);
    page.element("figcaption", {},
                 "Mean combine weight on the test set by the label of the input token; property 0 "
                 "is the delimiter; the palest cells go without their number. Token shares add up "
                 "to k, since a token keeps several experts.");
    page.close();
  }
  write_specialization(page, layer);
  write_events(page, layer);
  page.close();
}

}  // namespace offshoot
