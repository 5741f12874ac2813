#include "tools/inspect/contents.h"

#include <algorithm>
#include <array>

#include "engine/error.h"
#include "engine/json.h"
#include "tools/hmm/report_json.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "inspect";
constexpr std::string_view kReportProvenance = "report";
constexpr std::array<std::string_view, 4> kLifeColumns{"id", "parent", "born", "died"};

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

double number_in(const H5Column& column, size_t row) {
  return std::visit([&](const auto& values) { return static_cast<double>(values[row]); },
                    column.values);
}

// Runs f; what it throws names the file and the part.
template <class F>
auto naming(const H5Reader& h5, std::string_view part, F f) {
  try {
    return f();
  } catch (const Error& error) {
    if (std::string_view(error.what()).find(h5.path()) != std::string_view::npos) throw;
    fail(kName, "{}: {}: {}", h5.path(), printable(part), reason_of(error, h5.path()));
  }
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

// "metrics/loss: got f32 [3], expected f64 [3]", or "".
std::string column_fault(const H5Reader& h5, const std::string& name, const H5Info& expected,
                         bool needed = true) {
  const std::string dataset = "metrics/" + name;
  if (!h5.has(dataset)) return needed ? printable(dataset) + " is missing" : "";
  if (h5.is_group(dataset)) return printable(dataset) + ": is a group";
  const H5Info got = h5.info(dataset);
  if (got == expected) return "";
  return fmt::format("{}: got {} {}, expected {} {}", printable(dataset), to_string(got.type),
                     to_string(got.shape), to_string(expected.type), to_string(expected.shape));
}

}  // namespace

std::string reason_of(const Error& error, const std::string& path) {
  std::string_view text = error.what();
  const size_t end = text.find("] ");
  if (text.starts_with('[') && end != std::string_view::npos) text.remove_prefix(end + 2);
  if (text.starts_with(path + ": ")) text.remove_prefix(path.size() + 2);
  // The root has no name.
  return text.starts_with(": ") ? '/' + std::string(text) : std::string(text);
}

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
    const H5Info info = h5.info("model/" + name);
    const int64_t element = element_bytes(info.type);
    parameters.push_back(
        {name, info, element > 0 ? info.shape.size() * element : h5.stored_bytes("model/" + name)});
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

LayerLives lives_of(const H5Reader& h5, const std::string& layer) {
  const std::string dataset = "lineage/" + layer;
  const std::vector<H5Column> table = naming(h5, dataset, [&] { return h5.read_table(dataset); });
  const auto& id = integers_in(h5, dataset, table, "id");
  const auto& parent = integers_in(h5, dataset, table, "parent");
  const auto& born = integers_in(h5, dataset, table, "born");
  const auto& died = integers_in(h5, dataset, table, "died");
  LayerLives lives;
  for (size_t row = 0; row < id.size(); ++row) {
    lives.experts.push_back({id[row], parent[row], born[row], died[row]});
  }
  for (const H5Column& column : table) {
    if (std::ranges::find(kLifeColumns, column.name) != kLifeColumns.end()) continue;
    double ExpertLife::*known = column.name == "p_value"  ? &ExpertLife::p_value
                                : column.name == "cosine" ? &ExpertLife::cosine
                                : column.name == "gain"   ? &ExpertLife::gain
                                                          : nullptr;
    if (known == nullptr) lives.noted.push_back(column.name);
    for (size_t row = 0; row < id.size(); ++row) {
      ExpertLife& life = lives.experts[row];
      if (known != nullptr) {
        life.*known = number_in(column, row);
      } else {
        life.noted.push_back(number_in(column, row));
      }
    }
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

std::string metrics_fault(const H5Reader& h5) {
  if (names_below(h5, "metrics").empty()) return "";
  const std::string loss = "metrics/loss";
  const int64_t steps = h5.has(loss) && !h5.is_group(loss) ? h5.info(loss).shape.size() : 0;
  const int64_t tests = h5.has("metrics/test_steps") && !h5.is_group("metrics/test_steps")
                            ? h5.info("metrics/test_steps").shape.size()
                            : 0;
  std::vector<std::string> faults;
  for (const std::string name : {"loss", "auxiliary_loss", "learning_rate", "active_experts"}) {
    faults.push_back(column_fault(h5, name, {H5Type::f64, {steps}}));
  }
  for (const std::string& layer : names_below(h5, "metrics/experts")) {
    faults.push_back(column_fault(h5, "experts/" + layer, {H5Type::i64, {steps}}));
  }
  // What is empty is not in the file.
  faults.push_back(column_fault(h5, "test_steps", {H5Type::i64, {tests}}, false));
  faults.push_back(column_fault(h5, "test_loss", {H5Type::f64, {tests}}, tests > 0));
  if (h5.has("metrics/events")) {
    const int64_t events =
        h5.is_group("metrics/events") ? 0 : h5.info("metrics/events").shape.size();
    faults.push_back(column_fault(h5, "events", {H5Type::text, {events}}));
  }
  const auto first =
      std::ranges::find_if(faults, [](const std::string& fault) { return !fault.empty(); });
  return first == faults.end() ? "" : *first;
}

std::optional<TrainingLog> metrics_of(const H5Reader& h5) {
  if (names_below(h5, "metrics").empty() || !metrics_fault(h5).empty()) return std::nullopt;
  return naming(h5, "metrics", [&] {
    TrainingLog log(names_below(h5, "metrics/experts"));
    State state(h5);
    State metrics = state.scope("metrics");
    log.each_state(metrics);
    state.begin_apply();
    log.each_state(metrics);
    return log;
  });
}

std::optional<ReportData> report_of(const H5Reader& h5) {
  const std::string provenance = "provenance/" + std::string(kReportProvenance);
  if (!h5.has("report/data") || !h5.has(provenance)) return std::nullopt;
  const auto parse = [&](const std::string& dataset) {
    return Json::parse(text_of(h5, dataset), h5.path() + ": " + dataset);
  };
  return naming(h5, "report/data",
                [&] { return report_from_json(parse("report/data"), parse(provenance)); });
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
