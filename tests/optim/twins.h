// One training on two devices: the same parameters, gradients and optimizer.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "engine/parameter.h"
#include "engine/testing/gradcheck.h"
#include "optim/optimizer.h"

namespace offshoot::testing {

inline constexpr double kTwinRate = 0.01;

// Two growable parameters, whose rows are of odd lengths, and fixed ones of one number and of more
// than a block's work; and one that never has a gradient.
template <class Kind>
struct Twin {
  template <class Options>
  Twin(Device device, const Options& options)
      : group("experts", 3),
        fc("fc", random_tensor({3, 7, 5}, DType::f32, 1).to(device), group, 16),
        gate("gate", random_tensor({3, 4}, DType::f32, 2).to(device), group, 16),
        large("large", random_tensor({2, 16391}, DType::f32, 3).to(device)),
        one("one", random_tensor({}, DType::f32, 4).to(device)),
        idle("idle", random_tensor({9}, DType::f32, 5).to(device)),
        optimizer({{{&fc, &gate}, 1.0, 0.1}, {{&large, &one}, 3.0, 0.0}, {{&idle}, 1.0, 0.1}},
                  options) {}

  void set_gradients(uint64_t seed) {
    for (Parameter* p : {&fc, &gate, &large, &one}) {
      copy_elements(random_tensor(p->value().shape(), DType::f32, ++seed), p->gradient_slot().grad);
    }
  }
  void step(uint64_t seed) {
    optimizer.zero_grad();
    set_gradients(seed);
    optimizer.step(kTwinRate);
  }

  // Copies on the CPU of all values, gradients and moments.
  std::map<std::string, Tensor> floats() const {
    std::map<std::string, Tensor> all;
    for (const Parameter* p : {&fc, &gate, &large, &one, &idle}) {
      all[p->name()] = p->value().to(Device{}).clone();
      all[p->name() + ".grad"] = p->grad().to(Device{}).clone();
    }
    optimizer.each_state([&](const std::string& name, const Tensor& state) {
      if (state.dtype() == DType::f32) all[name] = state.to(Device{}).clone();
    });
    return all;
  }
  // Step counts by row.
  std::map<std::string, std::vector<int64_t>> counts() const {
    std::map<std::string, std::vector<int64_t>> all;
    optimizer.each_state([&](const std::string& name, const Tensor& state) {
      if (state.dtype() != DType::i64) return;
      all[name] = {state.elements<int64_t>().begin(), state.elements<int64_t>().end()};
    });
    return all;
  }
  std::map<std::string, std::vector<std::byte>> bits() const {
    std::map<std::string, std::vector<std::byte>> all;
    for (const auto& [name, tensor] : floats()) {
      all[name] = {tensor.raw(), tensor.raw() + tensor.bytes()};
    }
    return all;
  }

  GrowthGroup group;
  Parameter fc, gate, large, one, idle;
  Kind optimizer;
};

// The largest relative error of any tensor.
inline double twin_error(const std::map<std::string, Tensor>& got,
                         const std::map<std::string, Tensor>& expected) {
  double error = got.size() == expected.size() ? 0 : HUGE_VAL;
  for (const auto& [name, tensor] : expected) {
    error = std::max(error, relative_error(got.at(name), tensor));
  }
  return error;
}

}  // namespace offshoot::testing
