#include "engine/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <set>

#include "engine/error.h"
#include "engine/growth_state.h"
#include "engine/json.h"
#include "engine/parallel.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "checkpoint";
constexpr std::string_view kConfiguration = "configuration";

// Walks the model's values and all parts, each under its own name.
void walk(State state, Module& model, const std::vector<CheckpointPart>& parts) {
  State values = state.scope("model");
  for (Parameter* parameter : parameters(model)) {
    values.tensor(parameter->name(), parameter->value(), parameter->group());
  }
  for (const CheckpointPart& part : parts) {
    State scope = state.scope(part.name);
    part.each_state(scope);
  }
}

bool is_for_readers_only(const std::string& dataset) {
  return dataset == kConfiguration || dataset.starts_with("provenance/") ||
         dataset.starts_with("lineage/");
}

void check_nothing_left(const CheckpointReader& file, const State& state,
                        const std::vector<std::string>& growth) {
  std::string left;
  int64_t count = 0;
  for (const std::string& name : file.h5().datasets()) {
    if (is_for_readers_only(name) || state.asked(name)) continue;
    if (std::ranges::find(growth, name) != growth.end()) continue;
    if (++count <= 3) left += fmt::format("{}{}", left.empty() ? "" : ", ", printable(name));
  }
  if (count > 0) {
    fail(kName, "{}: got {} datasets that this run has no place for ({}{}), expected none",
         file.path(), count, left, count > 3 ? ", ..." : "");
  }
}

void check_names(const std::vector<CheckpointPart>& parts) {
  std::set<std::string> names;
  for (const CheckpointPart& part : parts) {
    for (const char* own : {"model", "growth", "lineage", "configuration", "provenance"}) {
      if (part.name == own) fail(kName, "part {}: got a name of the file's own", part.name);
    }
    if (part.name.empty()) fail(kName, "parts: got one without a name");
    if (!names.insert(part.name).second) fail(kName, "part {}: is there twice", part.name);
  }
}

void check_configuration(const std::string& path, const std::string& configuration) {
  try {
    Json::parse(configuration, "configuration");
  } catch (const Error& error) {
    fail(kName, "{}: the configuration is not JSON: {}", path, printable(error.what()));
  }
}

// What a part finds wrong with its own data knows no file.
void check_parts(State& state, const CheckpointReader& file, Module& model,
                 const std::vector<CheckpointPart>& parts) {
  try {
    walk(state, model, parts);
  } catch (const Error& error) {
    if (std::string_view(error.what()).find(file.path()) != std::string_view::npos) throw;
    fail(kName, "{}: {}", file.path(), printable(error.what()));
  }
}

}  // namespace

std::string engine_version() { return OFFSHOOT_VERSION; }

Provenance provenance() {
  std::array<char, 256> host{}, time{};
  ::gethostname(host.data(), host.size() - 1);
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {{"engine_version", engine_version()},
          {"host", host.data()},
          {"threads", fmt::format("{}", num_threads())},
          {"time", time.data()}};
}

void save_checkpoint(const std::string& path, const CheckpointContents& contents, Module& model,
                     const std::vector<CheckpointPart>& parts, AtomicFile::Fault fault) {
  check_names(parts);
  check_configuration(path, contents.configuration);
  CheckpointWriter file(path, contents.head, fault);
  file.h5().write_text(kConfiguration, contents.configuration);
  for (const GrowthGroup* group : growth_groups(model)) {
    write_growth(file.h5(), *group);
    file.h5().write_table("lineage/" + group->name(), lineage(growth_state(*group)));
  }
  walk(State(file.h5()), model, parts);
  for (const auto& [name, text] : contents.provenance) {
    if (!text.empty()) file.h5().write_text("provenance/" + name, text);
  }
  file.commit();
}

std::string read_configuration(const CheckpointReader& file) {
  return file.h5().read_text(kConfiguration);
}

void load_checkpoint(const CheckpointReader& file, Module& model,
                     const std::vector<CheckpointPart>& parts) {
  State state(file.h5());
  const std::vector<GrowthGroup*> groups = growth_groups(model);
  std::vector<GrowthState> grown;
  std::vector<std::string> growth_names;
  for (const GrowthGroup* group : groups) {
    grown.push_back(read_growth(file.h5(), group->name(), growth_names));
    state.set_rows(*group, std::ssize(grown.back().ids));
  }
  check_parts(state, file, model, parts);
  check_nothing_left(file, state, growth_names);
  GrowthTransaction transaction;
  for (size_t i = 0; i < groups.size(); ++i) {
    transaction.prepare_restore(*groups[i], std::move(grown[i].ids), grown[i].next_id,
                                std::move(grown[i].log));
  }
  transaction.commit();
  state.begin_apply();
  walk(state, model, parts);
  for (Parameter* parameter : parameters(model)) parameter->zero_grad();
}

}  // namespace offshoot
