#include "optim/optimizer.h"

#include <cmath>
#include <map>
#include <utility>

#include "engine/error.h"
#include "optim/guard.h"

namespace offshoot {

std::vector<ParameterGroup> decay_matrices_only(Module& module, double weight_decay) {
  ParameterGroup decayed{{}, 1.0, weight_decay}, plain;
  for (Parameter* parameter : parameters(module)) {
    if (!parameter->trainable()) continue;
    (parameter->value().rank() >= 2 ? decayed : plain).parameters.push_back(parameter);
  }
  return {std::move(decayed), std::move(plain)};
}

std::string_view to_string(NewbornState state) {
  switch (state) {
    case NewbornState::inherit:
      return "inherit";
    case NewbornState::fresh:
      return "fresh";
    case NewbornState::reference:
      return "reference";
  }
  return "unknown";
}

NewbornState parse_newborn_state(std::string_view text) {
  for (const auto state : {NewbornState::inherit, NewbornState::fresh, NewbornState::reference}) {
    if (text == to_string(state)) return state;
  }
  fail("optimizer", "newborn state: got {}, expected inherit, fresh or reference", text);
}

StateTensor::StateTensor(Parameter& parameter, std::string_view name, const Shape& shape,
                         DType dtype, NewRow new_row, Device device) {
  if (!parameter.growable()) {
    fixed_ = Tensor::zeros(shape, dtype, device);
    return;
  }
  rows_ = std::make_unique<RowTensor>(fmt::format("{}/{}", parameter.name(), name), shape, dtype,
                                      parameter.reserve_rows(), new_row, device);
  membership_ = parameter.group()->join(*rows_);
}

Optimizer::Optimizer(std::vector<ParameterGroup> groups) : groups_(std::move(groups)) {
  for (const ParameterGroup& group : groups_) {
    if (!(group.rate_factor >= 0) || !(group.weight_decay >= 0)) {
      fail("optimizer", "group: got rate factor {} and decay {}, expected none below 0",
           group.rate_factor, group.weight_decay);
    }
    for (Parameter* parameter : group.parameters) {
      if (parameter == nullptr) fail("optimizer", "group: got no parameter, expected one");
      if (!parameter->trainable()) fail("optimizer", "{} is not trainable", parameter->name());
      const Device its = parameter->value().device();
      if (claims_.empty()) device_ = its;
      if (its != device_) {
        fail("optimizer", "{}: got it on {}, expected {} as the first parameter", parameter->name(),
             to_string(its), to_string(device_));
      }
      claims_.emplace_back(*parameter);
    }
  }
}

void Optimizer::step(double rate, const Tensor& guard) {
  if (!std::isfinite(rate) || rate < 0) {
    fail("optimizer", "rate: got {}, expected a finite number of at least 0", rate);
  }
  check_guard("optimizer", guard, device_);
  if (device_.is_cuda()) return update(rate, guard);
  if (allows(guard)) update(rate, {});
}

void Optimizer::zero_grad() {
  for (const ParameterGroup& group : groups_) {
    for (Parameter* parameter : group.parameters) parameter->zero_grad();
  }
}

void each_state(State& state, const Optimizer& optimizer) {
  std::map<std::string, const GrowthGroup*> rows;
  for (const ParameterGroup& group : optimizer.groups()) {
    for (const Parameter* parameter : group.parameters) {
      rows[parameter->name()] = parameter->group();
    }
  }
  optimizer.each_state([&](const std::string& name, const Tensor& tensor) {
    state.tensor(name, tensor, rows.at(name.substr(0, name.rfind('/'))));
  });
}

}  // namespace offshoot
