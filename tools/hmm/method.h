// What --method, --router and --policy come to: who sees a token, and how the pool grows.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "mass/policies.h"
#include "models/moe.h"
#include "tools/hmm/config.h"
#include "tools/hmm/trainer.h"

namespace offshoot {

// Fills in router, policy, combine weights and the losses that the method brings with it, where
// they are not given. Throws Error naming the flag for a pair that cannot be.
void resolve_method(HmmConfig& config);

// Whether the router takes --topk experts a token.
bool chooses_k(const HmmConfig& config);

// Flags of the command line that this configuration makes no use of, such as --p under top-k.
std::vector<std::string> idle_flags(const HmmConfig& config,
                                    const std::function<bool(std::string_view flag)>& given);

// Of a resolved configuration that is not dense.
MoeOptions moe_options(const HmmConfig& config);
PolicyOptions policy_options(const HmmConfig& config);
RouterLosses router_losses(const HmmConfig& config);

// The method, and router or policy where they are not its own: "topk", "topk-schedule".
std::string method_name(const HmmConfig& config);

// "top-p, p = 0.9"; empty for dense.
std::string routing_text(const HmmConfig& config);

// "MASS, preset reference: 8 to 20 experts of 32 hidden units, top-p, p = 0.9".
std::string method_text(const HmmConfig& config);

// "in steps 0 to 300; an expert is examined after 270 observations"; empty where nothing grows.
std::string growth_text(const HmmConfig& config);

}  // namespace offshoot
