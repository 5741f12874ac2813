// Layers with each router of the library, for the tests.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "models/moe.h"

namespace offshoot::testing {

struct RouterCase {
  std::string name;
  MoeOptions options;  // 4 experts; sizes are filled in by sized()

  friend void PrintTo(const RouterCase& router, std::ostream* out) { *out << router.name; }
};

// Every kind, and every way of combining that it knows.
inline std::vector<RouterCase> router_cases() {
  using Kind = RouteOptions::Kind;
  const auto with = [](RouterKind kind, const RouteOptions& route, bool learn_temperature = true) {
    MoeOptions options;
    options.experts = 4;
    options.router = kind;
    options.route = route;
    options.learn_temperature = learn_temperature;
    return options;
  };
  const RouteOptions top1{Kind::top_k, 1, 1, CombineWeights::raw};
  const RouteOptions top2{Kind::top_k, 2, 1, CombineWeights::renormalised};
  const RouteOptions top_p{Kind::top_p, 1, 0.6, CombineWeights::renormalised};
  return {{"softmax_top2", with(RouterKind::softmax, top2)},
          {"sigmoid_top1", with(RouterKind::sigmoid, top1)},
          {"sigmoid_top2", with(RouterKind::sigmoid, top2)},
          {"cosine_top2", with(RouterKind::cosine, top2)},
          {"cosine_top_p", with(RouterKind::cosine, top_p)},
          {"top_any", with(RouterKind::top_any, {}, false)},
          {"top_any_temperature", with(RouterKind::top_any, {})}};
}

inline MoeOptions sized(MoeOptions options, int64_t features, int64_t hidden) {
  options.features = features;
  options.hidden = hidden;
  return options;
}

}  // namespace offshoot::testing
