#include "engine/growth_state.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "growth";
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
const std::vector<std::string> kLogColumns{"kind", "source_id", "new_id", "step", "policy"};

// The names of all noted values, `first` ahead, each once.
std::vector<std::string> value_names(const std::vector<Edit>& log, std::vector<std::string> first) {
  for (const Edit& edit : log) {
    for (const auto& [name, value] : edit.note.values) {
      if (std::ranges::find(first, name) == first.end()) first.push_back(name);
    }
  }
  return first;
}

double noted(const Edit& edit, const std::string& name) {
  for (const auto& [key, value] : edit.note.values) {
    if (key == name) return value;
  }
  return kNone;
}

template <class F>
H5Column integers(std::string name, const std::vector<Edit>& log, F f) {
  std::vector<int64_t> values;
  for (const Edit& edit : log) values.push_back(f(edit));
  return {std::move(name), std::move(values)};
}

std::vector<std::string> policies_of(const std::vector<Edit>& log) {
  std::vector<std::string> policies;
  for (const Edit& edit : log) {
    if (std::ranges::find(policies, edit.note.policy) == policies.end()) {
      policies.push_back(edit.note.policy);
    }
  }
  return policies;
}

std::vector<H5Column> log_table(const std::vector<Edit>& log,
                                const std::vector<std::string>& policies) {
  std::vector<H5Column> columns{
      integers(kLogColumns[0], log, [](const Edit& e) { return static_cast<int64_t>(e.kind); }),
      integers(kLogColumns[1], log, [](const Edit& e) { return e.source_id; }),
      integers(kLogColumns[2], log, [](const Edit& e) { return e.new_id; }),
      integers(kLogColumns[3], log, [](const Edit& e) { return e.note.step; }),
      integers(kLogColumns[4], log, [&](const Edit& e) {
        return std::ranges::find(policies, e.note.policy) - policies.begin();
      })};
  for (const std::string& name : value_names(log, {})) {
    std::vector<double> values;
    for (const Edit& edit : log) values.push_back(noted(edit, name));
    columns.push_back({"note." + name, std::move(values)});
  }
  return columns;
}

// Fails unless the table is one that log_table() makes.
void check_log(const std::string& where, const std::vector<H5Column>& columns, size_t policies) {
  bool valid = columns.size() >= kLogColumns.size();
  for (size_t c = 0; valid && c < columns.size(); ++c) {
    const bool integer = std::holds_alternative<std::vector<int64_t>>(columns[c].values);
    valid = c < kLogColumns.size() ? integer && columns[c].name == kLogColumns[c]
                                   : !integer && columns[c].name.starts_with("note.");
  }
  if (!valid) fail(kName, "{}: its columns are not those of an edit log", where);
  const auto in_range = [&](size_t column, int64_t limit) {
    return std::ranges::all_of(std::get<0>(columns[column].values),
                               [&](int64_t value) { return value >= 0 && value < limit; });
  };
  if (!in_range(0, static_cast<int64_t>(RowChange::Kind::resize) + 1) ||
      !in_range(4, static_cast<int64_t>(policies))) {
    fail(kName, "{}: a kind or policy is out of range", where);
  }
}

std::vector<Edit> log_from(const std::vector<H5Column>& columns,
                           const std::vector<std::string>& policies) {
  const auto integer = [&](size_t c, size_t row) { return std::get<0>(columns[c].values)[row]; };
  std::vector<Edit> log;
  for (size_t row = 0; row < std::get<0>(columns.front().values).size(); ++row) {
    Edit edit{static_cast<RowChange::Kind>(integer(0, row)), integer(1, row), integer(2, row), {}};
    edit.note.step = integer(3, row);
    edit.note.policy = policies[static_cast<size_t>(integer(4, row))];
    for (size_t c = kLogColumns.size(); c < columns.size(); ++c) {
      const double value = std::get<1>(columns[c].values)[row];
      if (!std::isnan(value)) edit.note.values.emplace_back(columns[c].name.substr(5), value);
    }
    log.push_back(std::move(edit));
  }
  return log;
}

// Whoever lived is here still or has a line in the log.
void check_ids(const H5Reader& file, const std::string& prefix, const GrowthState& state) {
  const int64_t most = std::ssize(state.ids) + std::ssize(state.log);
  if (state.next_id > most) {
    fail(kName, "{}: {}next_id: got {}, expected at most {} by the log", file.path(), prefix,
         state.next_id, most);
  }
  std::vector<int64_t> sorted = state.ids;
  std::ranges::sort(sorted);
  const bool distinct = std::ranges::adjacent_find(sorted) == sorted.end();
  if (sorted.empty() || !distinct || sorted.front() < 0 || sorted.back() >= state.next_id) {
    fail(kName, "{}: {}ids: got {} of them, expected distinct ones in [0, {})", file.path(), prefix,
         sorted.size(), state.next_id);
  }
}

}  // namespace

GrowthState growth_state(const GrowthGroup& group) {
  return {group.ids(), group.next_id(), group.log()};
}

void write_growth(H5Writer& file, const GrowthGroup& group) {
  const std::string prefix = "growth/" + group.name() + "/";
  file.write(prefix + "ids", Shape{group.rows()}, group.ids());
  file.write(prefix + "next_id", Shape{}, std::vector<int64_t>{group.next_id()});
  if (group.log().empty()) return;
  const std::vector<std::string> policies = policies_of(group.log());
  file.write_texts(prefix + "policies", policies);
  file.write_table(prefix + "log", log_table(group.log(), policies));
}

GrowthState read_growth(const H5Reader& file, const std::string& group,
                        std::vector<std::string>& asked) {
  const std::string prefix = "growth/" + group + "/";
  for (const char* name : {"ids", "next_id", "policies", "log"}) asked.push_back(prefix + name);
  GrowthState state;
  state.ids = file.read<int64_t>(prefix + "ids");
  state.next_id = file.read<int64_t>(prefix + "next_id", Shape{}).front();
  if (!file.has(prefix + "log")) {
    check_ids(file, prefix, state);
    return state;
  }
  const std::vector<std::string> policies = file.read_texts(prefix + "policies");
  const std::vector<H5Column> columns = file.read_table(prefix + "log");
  check_log(fmt::format("{}: {}log", file.path(), prefix), columns, policies.size());
  state.log = log_from(columns, policies);
  check_ids(file, prefix, state);
  return state;
}

std::vector<H5Column> lineage(const GrowthState& state) {
  const auto count = static_cast<size_t>(state.next_id);
  std::vector<int64_t> id(count), parent(count, -1), born(count, 0), died(count, -1);
  const std::vector<std::string> names = value_names(state.log, {"p_value", "cosine", "gain"});
  std::vector<std::vector<double>> values(names.size(), std::vector<double>(count, kNone));
  for (size_t i = 0; i < count; ++i) id[i] = static_cast<int64_t>(i);
  for (const Edit& edit : state.log) {
    const int64_t whom = edit.kind == RowChange::Kind::remove ? edit.source_id : edit.new_id;
    if (whom < 0 || whom >= state.next_id) continue;  // a resize concerns nobody
    const auto i = static_cast<size_t>(whom);
    if (edit.kind == RowChange::Kind::remove) {
      died[i] = edit.note.step;
    } else {
      parent[i] = edit.source_id;
      born[i] = edit.note.step;
    }
    for (size_t n = 0; n < names.size(); ++n) {
      if (std::isnan(values[n][i])) values[n][i] = noted(edit, names[n]);
    }
  }
  std::vector<H5Column> columns{{"id", std::move(id)},
                                {"parent", std::move(parent)},
                                {"born", std::move(born)},
                                {"died", std::move(died)}};
  for (size_t n = 0; n < names.size(); ++n) columns.push_back({names[n], std::move(values[n])});
  return columns;
}

}  // namespace offshoot
