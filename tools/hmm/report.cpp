#include "tools/hmm/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "tools/hmm/report_parts.h"
#include "tools/hmm/report_style.h"
#include "tools/support/html.h"
#include "tools/support/svg_plot.h"

namespace offshoot {
namespace {

// K is whole in one layer and a mean over several.
std::string experts_text(double experts) {
  return known(experts) && experts != std::floor(experts) ? number_text(experts, 1)
                                                          : count_text(experts);
}

double mean_initial(const ReportData& data) {
  double sum = 0;
  for (const ReportLayer& layer : data.layers) sum += layer.experts_initial;
  return data.layers.empty() ? kUnknown : sum / static_cast<double>(data.layers.size());
}

// --- headline -----------------------------------------------------------------------------------

std::string title_of(const ReportData& data) {
  if (data.method == "dense") return "A dense model, the baseline";
  const double initial = mean_initial(data);
  const std::string_view per_layer = data.layers.size() > 1 ? " a layer" : "";
  if (known(initial) && known(data.experts) && initial != data.experts) {
    return fmt::format("From {} to {} experts{}", experts_text(initial), experts_text(data.experts),
                       per_layer);
  }
  if (known(data.experts)) {
    return fmt::format("A mixture of {} expert{}{}", experts_text(data.experts),
                       data.experts == 1 ? "" : "s", per_layer);
  }
  return "A mixture of experts";
}

std::string lede_of(const ReportData& data) {
  std::string text;
  if (known(data.test_loss) && known(data.floor)) {
    text = fmt::format(
        "The test loss of {} nats a token lies {} above the exact floor of {}, the loss of a "
        "reader who knows the hidden Markov models behind the data.",
        number_text(data.test_loss, 3), number_text(data.test_loss - data.floor, 3),
        number_text(data.floor, 3));
  } else if (known(data.test_loss)) {
    text = fmt::format("The test loss is {} nats a token.", number_text(data.test_loss, 3));
  }
  const bool early =
      known(data.steps_done) && known(data.steps_planned) && data.steps_done < data.steps_planned;
  if (early) {
    text += fmt::format(" The run was ended after {} of {} steps.", count_text(data.steps_done),
                        count_text(data.steps_planned));
  }
  if (data.method == "dense") {
    text += " One MLP stands in place of the experts, so nothing is routed and nothing grows.";
  }
  return text;
}

void tile(Markup& page, std::string_view name, std::string_view value, std::string_view css = "") {
  page.open("div").element("dt", {}, name);
  page.element("dd", {{"class", std::string(css)}}, value).close();
}

void write_header(Markup& page, const ReportData& data) {
  std::string eyebrow = "Offshoot · GINC";
  if (!data.method.empty()) eyebrow += " · " + data.method;
  if (!data.preset.empty()) eyebrow += " · preset " + data.preset;
  if (!data.routing.empty()) eyebrow += " · " + data.routing;
  if (known(data.seed)) eyebrow += " · seed " + number_text(data.seed, 0);
  page.open("header").element("p", {{"class", "eyebrow"}}, eyebrow);
  page.element("h1", {}, title_of(data));
  const std::string lede = lede_of(data);
  if (!lede.empty()) page.element("p", {{"class", "lede"}}, lede);
  page.open("dl", {{"class", "tiles"}});
  tile(page, "Test loss", number_text(data.test_loss, 3), "main");
  tile(page, "Exact floor", number_text(data.floor, 3));
  tile(page, "Difference", signed_text(data.test_loss - data.floor, 3));
  if (has_experts(data)) {
    tile(page, "Experts K", experts_text(data.experts));
    tile(page, "Active experts k", number_text(data.active_experts, 2));
  }
  tile(page, "Steps a second", number_text(data.provenance.steps_per_second, 0));
  page.close().close();
}

// --- comparison ---------------------------------------------------------------------------------

// Right-aligned columns of unequal precision keep their decimal points in line when the missing
// digits are figure spaces.
std::string aligned(double value, int decimals, int wanted) {
  std::string text = number_text(value, decimals);
  if (!known(value)) return text;
  if (decimals == 0 && wanted > 0) text += "\u2008";
  for (int i = decimals; i < wanted; ++i) text += "\u2007";
  return text;
}

void group(Markup& page, int columns, std::string_view name) {
  page.open("tr", {{"class", "group"}});
  page.element("td", {{"colspan", fmt::format("{}", columns)}}, name).close();
}

void write_comparison(Markup& page, const ReportData& data) {
  const std::string dash(kMissing);
  const auto above = [&](double loss) { return aligned(loss - data.floor, 4, 4); };
  page.open("section").element("h2", {}, "Beside the floor and the paper");
  page.open("div", {{"class", "scroll"}}).open("table");
  table_head(page, {"", "Test loss, nats", "Above the floor", "Experts K", "Active k"});
  page.open("tbody");
  const bool experts = has_experts(data);
  table_row(
      page, "ours",
      {fmt::format("This run{}{}", data.method.empty() ? "" : ", ", data.method),
       aligned(data.test_loss, 4, 4), above(data.test_loss),
       experts ? aligned(data.experts, data.experts == std::floor(data.experts) ? 0 : 1, 1) : dash,
       experts ? aligned(data.active_experts, 2, 2) : dash});
  group(page, 5, "Bayes-optimal reader of the same test set");
  table_row(page, "",
            {"Knows the whole prefix (exact floor)", aligned(data.floor, 4, 4), above(data.floor),
             dash, dash});
  for (size_t last = data.floor_last.size(); last-- > 0;) {
    if (!known(data.floor_last[last])) continue;
    table_row(page, "",
              {last == 0 ? "Knows the last token only"
                         : fmt::format("Knows the last {} tokens only", last + 1),
               aligned(data.floor_last[last], 4, 4), above(data.floor_last[last]), dash, dash});
  }
  group(page, 5, "Headline figures of the MASS paper (arXiv 2512.19765), its own corpus");
  table_row(page, "", {"MASS", aligned(2.15, 2, 4), dash, aligned(12.4, 1, 1), aligned(3.9, 1, 2)});
  table_row(page, "", {"DynMoE", aligned(2.18, 2, 4), dash, dash, aligned(4.7, 1, 2)});
  table_row(
      page, "",
      {"Best fixed K", "about " + aligned(2.2, 1, 4), dash, "about " + aligned(15, 0, 1), dash});
  page.close().close().close();
  page.element("p", {{"class", "note"}},
               "The paper's figures come from its own sample of the data and its own settings; "
               "they and ours compare only roughly.");
  page.close();
}

void write_layer_table(Markup& page, const ReportData& data) {
  if (data.layers.size() < 2 || !has_experts(data)) return;
  page.open("section").element("h2", {}, "Layers").open("div", {{"class", "scroll"}});
  page.open("table");
  table_head(page,
             {"Layer", "Experts at first", "Experts K", "Active k", "JSD entity", "JSD property"});
  page.open("tbody");
  for (const ReportLayer& layer : data.layers) {
    table_row(page, "",
              {fmt::format("{}", layer.index), count_text(layer.experts_initial),
               count_text(layer.experts), number_text(layer.active_experts, 2),
               number_text(layer.sparse.entity, 3), number_text(layer.sparse.property, 3)});
  }
  table_row(page, "ours",
            {"Mean", number_text(mean_initial(data), 1), number_text(data.experts, 1),
             number_text(data.active_experts, 2), number_text(data.jsd.entity, 3),
             number_text(data.jsd.property, 3)});
  page.close().close().close();
  write_active(page, data);
  page.close();
}

// --- loss ---------------------------------------------------------------------------------------

void write_loss(Markup& page, const ReportData& data) {
  const bool trained = any_known(data.train_loss);
  std::vector<Point> tests = points_of(data.test_loss_curve);
  if (tests.empty() && known(data.test_loss) && known(data.steps_done)) {
    tests = {{data.steps_done, data.test_loss}};
  }
  if (!trained && tests.empty()) return;
  const std::vector<Point> raw = points_of(data.train_loss);
  const int64_t window = std::max<int64_t>(1, static_cast<int64_t>(raw.size()) / 60);

  LinePlot plot;
  plot.description = "Training and test loss over steps against the exact floor";
  plot.height = 400;
  plot.x_title = "step";
  plot.y_title = "Loss, nats a token";
  plot.x_high = steps_of(data);
  plot.bands = phase_band(data);
  const auto value = [](double y) { return number_text(y, 3); };
  plot.lines.push_back({data.floor, "exact floor  " + value(data.floor), "c2"});
  for (size_t last = 0; last < data.floor_last.size(); ++last) {
    plot.lines.push_back(
        {data.floor_last[last],
         fmt::format("last {}  {}",
                     last == 0 ? "token only" : fmt::format("{} tokens only", last + 1),
                     value(data.floor_last[last])),
         "c4"});
  }
  if (trained) {
    const std::vector<Point> mean = smooth(raw, window);
    const auto end =
        std::find_if(mean.rbegin(), mean.rend(), [](const Point& point) { return known(point.y); });
    plot.curves.push_back({"", "c1", CurveStyle::kRaw, decimate_extremes(raw, kRawBuckets)});
    plot.curves.push_back({"training  " + value(end->y), "c1", CurveStyle::kLine,
                           decimate_means(mean, kLineBuckets)});
  }
  if (!tests.empty()) {
    tests = decimate_means(tests, 80);
    plot.curves.push_back({"test  " + value(tests.back().y), "c3", CurveStyle::kDots, tests});
  }
  page.open("section").element("h2", {}, "Loss against the floor").open("figure");
  page.raw(line_plot(plot));
  page.element("figcaption", {},
               fmt::format("Training loss: thin, each step's batch; thick, the moving mean of {} "
                           "steps. Dashed: the best loss of a reader who knows only the last "
                           "tokens.",
                           window));
  page.close().close();
}

// --- configuration and provenance ---------------------------------------------------------------

using Pairs = std::vector<std::pair<std::string, std::string>>;

void write_pairs(Markup& page, const Pairs& pairs, std::string_view css) {
  page.open("dl", {{"class", std::string(css)}});
  for (const auto& [name, value] : pairs) {
    page.open("div").element("dt", {}, name).element("dd", {}, value).close();
  }
  page.close();
}

void write_configuration(Markup& page, const ReportData& data) {
  if (data.configuration.empty()) return;
  page.open("section").element("h2", {}, "Configuration").open("details");
  page.element("summary", {}, fmt::format("All {} options", data.configuration.size()));
  write_pairs(page, data.configuration, "pairs");
  page.close().close();
}

void write_provenance(Markup& page, const ReportProvenance& from) {
  Pairs pairs;
  const auto add = [&](std::string_view name, const std::string& value) {
    pairs.emplace_back(name, value.empty() ? std::string(kMissing) : value);
  };
  add("Engine", from.engine_version);
  add("Build", from.build);
  if (!from.machine.empty()) add("Machine", from.machine);
  add("Threads", count_text(from.threads));
  add("Training time", duration_text(from.seconds));
  add("Steps a second", number_text(from.steps_per_second, 1));
  add("Peak memory", bytes_text(from.peak_memory_bytes));
  if (!from.finished.empty()) add("Finished", from.finished);
  page.open("section").element("h2", {}, "Provenance");
  write_pairs(page, pairs, "pairs facts");
  if (!from.command.empty()) {
    page.open("p", {{"class", "note"}}).element("code", {}, from.command).close();
  }
  page.close();
}

}  // namespace

std::vector<ReportExpert> lineage_from_events(int64_t initial,
                                              const std::vector<ReportEvent>& events,
                                              bool stop_removes) {
  std::vector<ReportExpert> lives;
  for (int64_t id = 0; id < initial; ++id) lives.push_back({.id = id});
  for (const ReportEvent& event : events) {
    if (event.kind == "expand") {
      lives.push_back({.id = event.created,
                       .parent = event.source,
                       .born = event.step,
                       .p_value = event.p_value,
                       .cosine = event.cosine});
      continue;
    }
    if (event.kind == "add") {
      lives.push_back({.id = event.created, .born = event.step});
      continue;
    }
    const bool removes =
        event.kind == "reject" || event.kind == "remove" || (event.kind == "stop" && stop_removes);
    for (ReportExpert& expert : lives) {
      if (expert.id != event.source) continue;
      if (known(event.gain)) expert.gain = event.gain;
      // A stop at the ceiling has probed nobody.
      if (removes && (event.kind != "stop" || known(event.gain))) expert.removed = event.step;
    }
  }
  return lives;
}

std::string report_html(const ReportData& data) {
  Markup page;
  page.raw("<!doctype html>\n").open("html", {{"lang", "en"}}).open("head");
  page.empty("meta", {{"charset", "utf-8"}});
  page.empty("meta", {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}});
  // An empty icon, or a browser would ask the server for one.
  page.empty("link", {{"rel", "icon"}, {"href", "data:,"}});
  page.element("title", {}, fmt::format("{} · Offshoot", title_of(data)));
  page.open("style").raw(kReportStyle).close().close();
  page.open("body").open("main");
  write_header(page, data);
  write_comparison(page, data);
  write_loss(page, data);
  write_layer_table(page, data);
  if (has_experts(data)) {
    for (const ReportLayer& layer : data.layers) write_layer(page, data, layer);
  }
  write_configuration(page, data);
  write_provenance(page, data.provenance);
  return page.close().close().close().take();
}

}  // namespace offshoot
