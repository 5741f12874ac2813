#include "tools/inspect/contents.h"

#include <algorithm>
#include <cctype>

#include "engine/error.h"
#include "engine/json.h"
#include "tools/hmm/report_json.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "inspect";
constexpr std::string_view kReportProvenance = "report";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes the digits that `text` begins with, without leading zeros.
std::string_view take_digits(std::string_view& text) {
  size_t end = 0;
  while (end < text.size() && is_digit(text[end])) ++end;
  std::string_view digits = text.substr(0, end);
  text.remove_prefix(end);
  while (digits.size() > 1 && digits.front() == '0') digits.remove_prefix(1);
  return digits;
}

double number_in(const std::vector<H5Column>& table, std::string_view name, size_t row) {
  for (const H5Column& column : table) {
    const auto* values = std::get_if<std::vector<double>>(&column.values);
    if (column.name == name && values != nullptr) return (*values)[row];
  }
  return kUnknown;
}

const std::vector<int64_t>& integers_in(const H5Reader& h5, const std::string& dataset,
                                        const std::vector<H5Column>& table, std::string_view name) {
  for (const H5Column& column : table) {
    const auto* values = std::get_if<std::vector<int64_t>>(&column.values);
    if (column.name == name && values != nullptr) return *values;
  }
  fail(kName, "{}: {}: the column {} is missing", h5.path(), printable(dataset), name);
}

// The first of the texts, whether the dataset is a scalar or a list.
std::string text_of(const H5Reader& h5, const std::string& dataset) {
  const std::vector<std::string> texts = h5.read_texts(dataset);
  if (texts.empty()) fail(kName, "{}: {}: is empty", h5.path(), printable(dataset));
  return texts.front();
}

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  const std::string_view whole_a = a, whole_b = b;
  while (!a.empty() && !b.empty()) {
    if (is_digit(a.front()) && is_digit(b.front())) {
      const std::string_view x = take_digits(a), y = take_digits(b);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      continue;
    }
    if (a.front() != b.front()) {
      return static_cast<unsigned char>(a.front()) < static_cast<unsigned char>(b.front());
    }
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  if (a.empty() != b.empty()) return a.empty();
  return whole_a < whole_b;  // 07 and 7
}

std::vector<std::string> names_below(const H5Reader& h5, const std::string& group) {
  if (!h5.has(group) || !h5.is_group(group)) return {};
  std::vector<std::string> names = h5.datasets(group);
  for (std::string& name : names) name.erase(0, group.size() + 1);
  std::ranges::sort(names, natural_less);
  return names;
}

std::vector<ParameterInfo> model_parameters(const H5Reader& h5) {
  std::vector<ParameterInfo> parameters;
  for (const std::string& name : names_below(h5, "model")) {
    parameters.push_back({name, h5.info("model/" + name)});
  }
  return parameters;
}

std::vector<LayerExperts> layers_of(const H5Reader& h5) {
  std::vector<LayerExperts> layers;
  for (const std::string& name : names_below(h5, "growth")) {
    if (!name.ends_with("/ids")) continue;
    LayerExperts layer{name.substr(0, name.size() - 4), h5.info("growth/" + name).shape.size(), 0};
    const std::string lineage = "lineage/" + layer.name;
    layer.ever = h5.has(lineage) ? h5.info(lineage).shape.size() : layer.now;
    layers.push_back(std::move(layer));
  }
  return layers;
}

std::vector<ExpertLife> lives_of(const H5Reader& h5, const std::string& layer) {
  const std::string dataset = "lineage/" + layer;
  const std::vector<H5Column> table = h5.read_table(dataset);
  const auto& id = integers_in(h5, dataset, table, "id");
  const auto& parent = integers_in(h5, dataset, table, "parent");
  const auto& born = integers_in(h5, dataset, table, "born");
  const auto& died = integers_in(h5, dataset, table, "died");
  std::vector<ExpertLife> lives;
  for (size_t row = 0; row < id.size(); ++row) {
    lives.push_back({id[row], parent[row], born[row], died[row], number_in(table, "p_value", row),
                     number_in(table, "cosine", row), number_in(table, "gain", row)});
  }
  return lives;
}

std::vector<std::pair<std::string, std::string>> provenance_of(const H5Reader& h5) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& name : names_below(h5, "provenance")) {
    const std::string dataset = "provenance/" + name;
    if (name == kReportProvenance || h5.info(dataset).type != H5Type::text) continue;
    pairs.emplace_back(name, text_of(h5, dataset));
  }
  return pairs;
}

std::optional<TrainingLog> metrics_of(const H5Reader& h5) {
  if (!h5.has("metrics/loss")) return std::nullopt;
  TrainingLog log(names_below(h5, "metrics/experts"));
  State state(h5);
  State metrics = state.scope("metrics");
  log.each_state(metrics);
  state.begin_apply();
  log.each_state(metrics);
  return log;
}

std::optional<ReportData> report_of(const H5Reader& h5) {
  const std::string provenance = "provenance/" + std::string(kReportProvenance);
  if (!h5.has("report/data") || !h5.has(provenance)) return std::nullopt;
  const auto parse = [&](const std::string& dataset) {
    return Json::parse(text_of(h5, dataset), h5.path() + ": " + dataset);
  };
  return report_from_json(parse("report/data"), parse(provenance));
}

ReportData need_report(const H5Reader& h5) {
  std::optional<ReportData> report = report_of(h5);
  if (!report) {
    fail(kName,
         "{}: report/data is missing: a run of offshoot-hmm keeps it when it comes to its end; "
         "this one has not, or is another program's",
         h5.path());
  }
  return *std::move(report);
}

}  // namespace offshoot
