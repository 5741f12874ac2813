// The growth policies by name, for programs that let their users choose.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "mass/dynmoe_policy.h"
#include "mass/growth_policy.h"
#include "mass/options.h"

namespace offshoot {

enum class PolicyKind { never, mass, dynmoe, schedule, random };
std::string_view to_string(PolicyKind kind);
PolicyKind parse_policy(std::string_view text);  // throws Error

struct PolicyOptions {
  PolicyKind kind = PolicyKind::never;
  MassOptions mass = {};      // schedule and random: its phase, max_experts and how a split is made
  DynMoeOptions dynmoe = {};  // dynmoe
  int64_t every = 25;         // schedule: steps
  uint64_t seed = 0;          // random
};

// Null for `never`. Throws Error as the policy's constructor does.
std::unique_ptr<GrowthPolicy> make_growth_policy(std::vector<MoeLayer*> layers,
                                                 const PolicyOptions& options);

// What a newborn's optimizer state starts with under the policy.
NewbornState newborn_of(const PolicyOptions& options);

}  // namespace offshoot
