#include "mass/policies.h"

#include "engine/error.h"
#include "mass/controller.h"
#include "mass/scheduled_policies.h"

namespace offshoot {

std::string_view to_string(PolicyKind kind) {
  switch (kind) {
    case PolicyKind::never:
      return "never";
    case PolicyKind::mass:
      return "mass";
    case PolicyKind::dynmoe:
      return "dynmoe";
    case PolicyKind::schedule:
      return "schedule";
    case PolicyKind::random:
      return "random";
  }
  return "unknown";
}

PolicyKind parse_policy(std::string_view text) {
  for (const auto kind : {PolicyKind::never, PolicyKind::mass, PolicyKind::dynmoe,
                          PolicyKind::schedule, PolicyKind::random}) {
    if (text == to_string(kind)) return kind;
  }
  fail("policy", "got {}, expected never, mass, dynmoe, schedule or random", text);
}

std::unique_ptr<GrowthPolicy> make_growth_policy(std::vector<MoeLayer*> layers,
                                                 const PolicyOptions& options) {
  switch (options.kind) {
    case PolicyKind::never:
      return nullptr;
    case PolicyKind::mass:
      return std::make_unique<MassController>(std::move(layers), options.mass);
    case PolicyKind::dynmoe:
      return std::make_unique<DynMoePolicy>(std::move(layers), options.dynmoe);
    case PolicyKind::schedule:
      return std::make_unique<SchedulePolicy>(std::move(layers), options.mass, options.every);
    case PolicyKind::random:
      return std::make_unique<RandomPolicy>(std::move(layers), options.mass, options.seed);
  }
  return nullptr;
}

NewbornState newborn_of(const PolicyOptions& options) {
  const bool splits = options.kind == PolicyKind::mass || options.kind == PolicyKind::schedule ||
                      options.kind == PolicyKind::random;
  return splits ? options.mass.newborn : NewbornState::fresh;
}

}  // namespace offshoot
