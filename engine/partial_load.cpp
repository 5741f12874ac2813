#include "engine/partial_load.h"

#include <algorithm>
#include <utility>

#include "engine/error.h"
#include "engine/growth_state.h"
#include "engine/state.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "checkpoint";
constexpr std::string_view kModel = "model";

std::string in_file(const std::string& name) { return fmt::format("{}/{}", kModel, name); }

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

// Whether the group can become the file's: nothing in its rows would be left behind.
bool takes_rows(const CheckpointReader& file, Module& model, const GrowthGroup& group,
                const LoadReport& report) {
  bool all = file.h5().has(fmt::format("growth/{}/ids", group.name()));
  for (const Parameter* parameter : parameters(model)) {
    if (parameter->group() == &group) all = all && contains(report.taken, parameter->name());
  }
  return all;
}

void check_unclaimed(Module& model, const GrowthGroup& group) {
  for (const Parameter* parameter : parameters(model)) {
    if (parameter->group() != &group || !parameter->claimed()) continue;
    fail(kName, "{}: its rows come from a file, but an optimizer steps it: build that later",
         parameter->name());
  }
}

void walk(State& state, Module& model, const LoadReport& report) {
  State values = state.scope(kModel);
  for (Parameter* parameter : parameters(model)) {
    if (!contains(report.taken, parameter->name())) continue;
    values.tensor(parameter->name(), parameter->value(), parameter->group());
  }
}

std::string line(const char* what, const std::vector<std::string>& names) {
  std::string text = fmt::format("{} {}", what, names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? ": " : ", ", printable(names[i]));
  }
  return text + '\n';
}

}  // namespace

LoadReport load_parameters(const CheckpointReader& file, Module& model, const NameFilter& wanted) {
  LoadReport report;
  for (const Parameter* parameter : parameters(model)) {
    const std::string& name = parameter->name();
    if (!wanted(name)) continue;
    (file.h5().has(in_file(name)) ? report.taken : report.missing).push_back(name);
  }
  if (file.h5().has(kModel)) {
    if (!file.h5().is_group(kModel)) fail(kName, "{}: {}: is not a group", file.path(), kModel);
    for (const std::string& dataset : file.h5().datasets(kModel)) {
      std::string name = dataset.substr(kModel.size() + 1);
      if (!contains(report.taken, name)) report.ignored.push_back(std::move(name));
    }
  }

  State state(file.h5());
  GrowthTransaction transaction;
  for (GrowthGroup* group : growth_groups(model)) {
    if (!takes_rows(file, model, *group, report)) continue;
    std::vector<std::string> names;
    GrowthState grown = read_growth(file.h5(), group->name(), names);
    check_unclaimed(model, *group);
    state.set_rows(*group, std::ssize(grown.ids));
    transaction.prepare_restore(*group, std::move(grown.ids), grown.next_id, std::move(grown.log));
  }
  walk(state, model, report);
  transaction.commit();
  state.begin_apply();
  walk(state, model, report);
  for (Parameter* parameter : parameters(model)) {
    if (contains(report.taken, parameter->name())) parameter->zero_grad();
  }
  return report;
}

std::string to_string(const LoadReport& report) {
  return line("taken", report.taken) + line("missing", report.missing) +
         line("ignored", report.ignored);
}

}  // namespace offshoot
