#include "mass/dynmoe_policy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/error.h"
#include "engine/module.h"
#include "mass/splitter.h"
#include "mass/stopwatch.h"

namespace offshoot {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

GrowthEvent event_of(GrowthEvent::Kind kind, int64_t step, const MoeLayer& layer, int64_t source,
                     int64_t created) {
  return {kind, step, layer.name(), source, created, kNone, kNone, kNone, layer.experts()};
}

// As MoeLayer draws its experts, with numbers of the newborn's own.
void draw_like_the_first(MoeLayer& layer, uint64_t seed, std::string_view member,
                         const Tensor& rows) {
  const int64_t D = layer.fc1_weight().value().dim(2), H = layer.fc1_weight().value().dim(1);
  const auto id = static_cast<uint64_t>(layer.group().next_id());
  for (const auto& [parameter, fan_in] : {std::pair{&layer.fc1_weight(), D},
                                          {&layer.fc1_bias(), D},
                                          {&layer.fc2_weight(), H},
                                          {&layer.fc2_bias(), H}}) {
    if (parameter->name() != member) continue;
    const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
    Random random = Scope{"", rows.dtype(), seed}.random(fmt::format("{}.{}", member, id));
    copy_elements(uniform(rows.shape(), rows.dtype(), random, -bound, bound), rows);
  }
}

// The optimizer's count of a row's steps (optim/adam.h), a member of the group as all else.
bool counts_steps(std::string_view member) { return member.ends_with("/step"); }

}  // namespace

DynMoePolicy::Layer::Layer(MoeLayer& layer, int64_t reserve_rows)
    : moe(&layer),
      tokens(fmt::format("{}.dynmoe_tokens", layer.name()), {layer.experts()}, DType::i64,
             reserve_rows, NewRow::zero),
      homeless_sum(Tensor::zeros({layer.fc1_weight().value().dim(2)}, DType::f64)),
      membership(layer.group().join(tokens)) {}

DynMoePolicy::DynMoePolicy(std::vector<MoeLayer*> layers, const DynMoeOptions& options)
    : options_(options) {
  if (layers.empty()) fail("dynmoe", "layers: got none, expected at least one with experts");
  if (options.interval < 1)
    fail("dynmoe", "interval: got {}, expected at least 1", options.interval);
  if (options.newborn == NewbornState::inherit) {
    fail("dynmoe", "newborn: got inherit, expected fresh or reference, as there is no source");
  }
  for (MoeLayer* layer : layers) {
    const Parameter* rows = layer->router().expert_rows();
    if (rows == nullptr) {
      fail("dynmoe", "{}: got a router without expert rows, expected one with them", layer->name());
    }
    if (layer->experts() > options.max_experts) {
      fail("dynmoe", "{}: got {} experts, expected at most max_experts = {}", layer->name(),
           layer->experts(), options.max_experts);
    }
    layers_.push_back(std::make_unique<Layer>(*layer, options.max_experts));
  }
}

void DynMoePolicy::see(size_t layer, const LayerRecord& record) {
  const Stopwatch watch(seeing_);
  Layer& own = *layers_[layer];
  const Routing routing = to_cpu(record.routed.routing);
  const auto received = routing.tokens_per_expert.elements<int64_t>();
  const auto tokens = own.tokens.tensor().elements<int64_t>();
  for (size_t e = 0; e < received.size(); ++e) tokens[e] += received[e];
  const int64_t* offsets = routing.token_offsets.data<int64_t>();
  Tensor x;  // on the CPU, if it is asked for
  for (int64_t n = 0; n < routing.tokens(); ++n) {
    if (offsets[n] != offsets[n + 1]) continue;
    if (!x.defined()) x = record.input.to(Device{});
    ++own.homeless;
    const auto sum = own.homeless_sum.elements<double>();
    dispatch_float("dynmoe", x.dtype(), [&]<class T>(T) {
      const T* vector = x.data<T>() + n * x.last_dim();
      for (size_t d = 0; d < sum.size(); ++d) sum[d] += static_cast<double>(vector[d]);
    });
  }
}

std::vector<GrowthEvent> DynMoePolicy::grow(int64_t step, const std::vector<std::vector<int64_t>>&,
                                            double, const Probe&) {
  std::vector<GrowthEvent> events;
  times_ = {std::exchange(seeing_, 0.0), 0, 0};
  if (step >= options_.phase_end || !adapts(step)) return events;
  const Stopwatch watch(times_.edit);
  for (const auto& layer : layers_) {
    remove_idle(*layer, step, events);
    add_for_homeless(*layer, step, events);
    std::ranges::fill(layer->tokens.tensor().elements<int64_t>(), 0);
    layer->homeless = 0;
    fill_zero(layer->homeless_sum);
  }
  return events;
}

void DynMoePolicy::remove_idle(Layer& layer, int64_t step, std::vector<GrowthEvent>& events) {
  MoeLayer& moe = *layer.moe;
  const std::vector<int64_t> ids = moe.group().ids();
  for (const int64_t id : ids) {
    const int64_t row = row_of(moe, id);
    if (layer.tokens.tensor().data<int64_t>()[row] > 0 || moe.experts() == 1) continue;
    moe.group().remove(row, {step, "dynmoe", {}});
    events.push_back(event_of(GrowthEvent::Kind::remove, step, moe, id, -1));
  }
}

void DynMoePolicy::add_for_homeless(Layer& layer, int64_t step, std::vector<GrowthEvent>& events) {
  MoeLayer& moe = *layer.moe;
  if (layer.homeless == 0 || moe.experts() >= options_.max_experts) return;
  const auto sum = layer.homeless_sum.elements<double>();
  double norm = 0;
  for (const double value : sum) norm += value * value;
  norm = std::max(std::sqrt(norm), 1e-12);
  const Parameter& router_rows = *moe.router().expert_rows();
  if (router_rows.value().last_dim() != std::ssize(sum)) {
    fail("dynmoe",
         "{}: got rows of {} numbers, expected {} as a token has, where one has no expert",
         router_rows.name(), router_rows.value().last_dim(), sum.size());
  }
  const std::string& row_name = router_rows.name();
  const RowInit init = [&](std::string_view member, const Tensor& rows) {
    draw_like_the_first(moe, options_.seed, member, rows);
    if (counts_steps(member) && options_.newborn == NewbornState::reference) {
      std::ranges::fill(rows.elements<int64_t>(), step);
    }
    if (member != row_name) return;
    const Tensor direction(rows.shape(), rows.dtype());
    dispatch_float("dynmoe", rows.dtype(), [&]<class T>(T) {
      const auto values = direction.elements<T>();
      for (size_t d = 0; d < sum.size(); ++d) values[d] = static_cast<T>(sum[d] / norm);
    });
    copy_elements(direction, rows);
  };
  const EditNote note{step, "dynmoe", {{"tokens", static_cast<double>(layer.homeless)}}};
  const int64_t id = moe.group().append(1, init, note);
  events.push_back(event_of(GrowthEvent::Kind::add, step, moe, -1, id));
}

void DynMoePolicy::each_state(State state) {
  for (const auto& layer : layers_) {
    State own = state.scope(layer->moe->name());
    own.tensor("tokens", layer->tokens.tensor(), &layer->moe->group());
    own.value("homeless", layer->homeless);
    own.tensor("homeless_sum", layer->homeless_sum);
  }
}

int64_t DynMoePolicy::state_bytes() const {
  int64_t bytes = 0;
  for (const auto& layer : layers_) {
    bytes += layer->tokens.tensor().bytes() + layer->homeless_sum.bytes();
  }
  return bytes;
}

}  // namespace offshoot
