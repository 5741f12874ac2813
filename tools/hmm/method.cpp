#include "tools/hmm/method.h"

#include <algorithm>
#include <array>

#include "engine/error.h"

namespace offshoot {
namespace {

struct Method {
  const char* name;
  const char* router;
  const char* policy;
};

constexpr std::array<Method, 6> kMethods{{{"mass", "topp", "mass"},
                                          {"topk", "topk", "never"},
                                          {"topp", "topp", "never"},
                                          {"gmoe", "cosine", "never"},
                                          {"dynmoe", "topany", "dynmoe"},
                                          {"sigmoid", "sigmoid", "never"}}};

constexpr double kDynMoeDiversity = 0.01;

// What router and preset combine with. A fixed number of experts with top-p follows the preset,
// too.
std::string usual_combine(const HmmConfig& config) {
  // With one expert a renormalised weight would be 1, and the gate without a gradient.
  if (chooses_k(config)) return config.topk == 1 ? "raw" : "renormalised";
  return config.preset == "paper" ? "raw" : "renormalised_if_shared";
}

CombineWeights parse_combine(const std::string& text) {
  if (text == "raw") return CombineWeights::raw;
  if (text == "renormalised") return CombineWeights::renormalised;
  return CombineWeights::renormalised_if_shared;
}

RouteOptions route_options(const HmmConfig& config) {
  RouteOptions route;
  if (chooses_k(config)) {
    route.kind = RouteOptions::Kind::top_k;
    route.k = config.topk;
  } else {
    route.kind = RouteOptions::Kind::top_p;
    route.p = config.p;
  }
  route.weights = parse_combine(*config.combine);
  return route;
}

RouterKind router_kind(const std::string& router) {
  if (router == "cosine") return RouterKind::cosine;
  if (router == "sigmoid") return RouterKind::sigmoid;
  if (router == "topany") return RouterKind::top_any;
  return RouterKind::softmax;
}

// Policies that duplicate experts, as MASS does.
bool splits_experts(const HmmConfig& config) {
  if (config.dense()) return false;
  const std::string& policy = *config.policy;
  return policy == "mass" || policy == "schedule" || policy == "random";
}

void resolve_dense(HmmConfig& config) {
  for (const auto& [flag, value] :
       {std::pair{"--router", config.router}, {"--policy", config.policy}}) {
    if (value)
      fail("offshoot-hmm", "{}: got {}, expected none, as --method dense has no experts", flag,
           *value);
  }
  if (!config.combine) config.combine = "raw";
  if (!config.diversity_loss) config.diversity_loss = 0.0;
}

}  // namespace

bool chooses_k(const HmmConfig& config) {
  return *config.router == "topk" || *config.router == "cosine" || *config.router == "sigmoid";
}

void resolve_method(HmmConfig& config) {
  if (config.dense()) return resolve_dense(config);
  const Method& method = *std::ranges::find(kMethods, config.method, &Method::name);
  if (!config.router) config.router = method.router;
  if (!config.policy) config.policy = method.policy;
  if (!config.combine) config.combine = usual_combine(config);
  if (!config.diversity_loss) {
    config.diversity_loss = config.method == "dynmoe" ? kDynMoeDiversity : 0.0;
  }
}

std::vector<std::string> idle_flags(const HmmConfig& config,
                                    const std::function<bool(std::string_view flag)>& given) {
  const bool experts = !config.dense();
  const std::string policy = experts ? *config.policy : "never";
  const bool mass = policy == "mass", splits = splits_experts(config);
  const bool top_p = experts && *config.router == "topp";
  const bool top_any = experts && *config.router == "topany";
  struct Use {
    std::initializer_list<const char*> flags;
    bool used;
  };
  const Use uses[] = {{{"--experts"}, experts},
                      {{"--max-experts"}, config.grows()},
                      {{"--topk"}, experts && chooses_k(config)},
                      {{"--p"}, top_p},
                      {{"--combine"}, experts && !top_any},
                      {{"--temperature"}, top_any},
                      {{"--preset"}, splits || top_p},
                      {{"--adapt-every", "--adapt-until", "--adapt-newborn"}, policy == "dynmoe"},
                      {{"--grow-every"}, policy == "schedule"},
                      {{"--load-sigma"}, config.load_loss > 0},
                      {{"--phase-begin", "--phase-end", "--decomposition", "--newborn",
                        "--preserve-function", "--lred", "--lred-over", "--lred-phase"},
                       splits},
                      {{"--warmup",        "--window",      "--alpha",         "--delta",
                        "--delta-scale",   "--cpd",         "--alignment",     "--norm",
                        "--relative-norm", "--idle",        "--flat-window",   "--z-full",
                        "--zero-cosine",   "--stopping",    "--patience",      "--patience-counts",
                        "--nll-min",       "--probe-order", "--probe-dropout", "--stop-removes"},
                       mass}};
  std::vector<std::string> idle;
  for (const Use& use : uses) {
    for (const char* flag : use.flags) {
      if (!use.used && given(flag)) idle.emplace_back(flag);
    }
  }
  return idle;
}

MoeOptions moe_options(const HmmConfig& config) {
  MoeOptions moe;
  moe.hidden = *config.hidden;
  moe.experts = config.experts;
  moe.max_experts = config.grows() ? config.max_experts : config.experts;
  moe.router = router_kind(*config.router);
  if (moe.router == RouterKind::top_any) {
    moe.learn_temperature = config.temperature == "learned";
  } else {
    moe.route = route_options(config);
  }
  moe.gate_bias = splits_experts(config) && config.mass.preserve_function;
  moe.shared_hidden = config.shared_hidden;
  return moe;
}

PolicyOptions policy_options(const HmmConfig& config) {
  PolicyOptions options;
  if (config.dense()) return options;
  options.kind = parse_policy(*config.policy);
  options.mass = config.mass;
  options.dynmoe = {config.adapt_every, *config.adapt_until, config.max_experts,
                    static_cast<uint64_t>(config.seed), parse_newborn_state(config.adapt_newborn)};
  options.every = *config.grow_every;
  options.seed = static_cast<uint64_t>(config.seed);
  return options;
}

RouterLosses router_losses(const HmmConfig& config) {
  return {config.balance_loss,       config.z_loss,       config.importance_loss,
          config.load_loss,          config.load_sigma,   *config.diversity_loss,
          config.orthogonality_loss, config.variance_loss};
}

std::string method_name(const HmmConfig& config) {
  std::string name = config.method;
  if (config.dense()) return name;
  const Method& method = *std::ranges::find(kMethods, config.method, &Method::name);
  if (config.router && *config.router != method.router) name += fmt::format("-{}", *config.router);
  if (config.policy && *config.policy != method.policy) name += fmt::format("-{}", *config.policy);
  return name;
}

std::string routing_text(const HmmConfig& config) {
  if (config.dense()) return "";
  const std::string& router = *config.router;
  std::string text = fmt::format("top-p, p = {}", config.p);
  if (chooses_k(config)) {
    text = fmt::format("{}top-k, k = {}", router == "topk" ? "" : router + ", ", config.topk);
  }
  if (router == "topany") text = fmt::format("top-any, temperature {}", config.temperature);
  if (config.shared_hidden > 0) {
    text += fmt::format(", shared expert of {} hidden units", config.shared_hidden);
  }
  return text;
}

std::string method_text(const HmmConfig& config) {
  if (config.dense()) return fmt::format("dense MLP of {} hidden units", *config.hidden);
  const std::string size =
      fmt::format("of {} hidden units, {}", *config.hidden, routing_text(config));
  if (!config.grows()) return fmt::format("{} experts {}", config.experts, size);
  const std::string& policy = *config.policy;
  std::string who = fmt::format("growth policy {}", policy);
  if (policy == "mass") who = fmt::format("MASS, preset {}", config.preset);
  if (policy == "dynmoe") who = "DynMoE";
  return fmt::format("{}: {} to {} experts {}", who, config.experts, config.max_experts, size);
}

std::string growth_text(const HmmConfig& config) {
  if (!config.grows()) return "";
  const std::string& policy = *config.policy;
  if (policy == "dynmoe") {
    return fmt::format("every {} steps until step {}", config.adapt_every, *config.adapt_until);
  }
  std::string text =
      fmt::format("in steps {} to {}", config.mass.phase_begin, config.mass.phase_end);
  if (policy == "mass") {
    text += fmt::format("; an expert is examined after {} observations",
                        std::max(config.mass.warmup, config.mass.window));
  } else if (policy == "schedule") {
    text += fmt::format("; one expert is split every {}", *config.grow_every);
  } else {
    text += "; an expert is split now and then";
  }
  return text;
}

}  // namespace offshoot
