// What every optimizer has: parameter groups, and state that grows with the parameters.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/module.h"
#include "engine/parameter.h"
#include "engine/state.h"

namespace offshoot {

// Parameters that share a rate and a decay.
struct ParameterGroup {
  std::vector<Parameter*> parameters;
  double rate_factor = 1.0;   // times the rate given to step()
  double weight_decay = 0.0;  // 1/step/rate for decoupled decay, the L2 coefficient otherwise
};

// One group with decay for tensors of two or more axes, one without it for the others (LayerNorm,
// biases of dense layers). Parameters that are not trainable are left out.
std::vector<ParameterGroup> decay_matrices_only(Module& module, double weight_decay);

// What a duplicated row's optimizer state starts with (MASS, arXiv 2512.19765). The newborn makes
// this step's update with it.
enum class NewbornState {
  inherit,    // copies of the source's moments and step count
  fresh,      // zeros, and a step count of its own, so that its bias correction is right
  reference,  // zeros with the source's step count: its first Adam steps are too long
};
std::string_view to_string(NewbornState state);
NewbornState parse_newborn_state(std::string_view text);  // throws Error

// A state tensor of a parameter's shape, or one number a row, on `device`. A growable parameter's
// is a member of the parameter's growth group.
class StateTensor {
 public:
  // `shape` is the parameter's, or {rows} for one number a row ({1} when it is not growable).
  StateTensor(Parameter& parameter, std::string_view name, const Shape& shape, DType dtype,
              NewRow new_row, Device device);

  const Tensor& tensor() const { return rows_ ? rows_->tensor() : fixed_; }

 private:
  Tensor fixed_;
  std::unique_ptr<RowTensor> rows_;
  GrowthGroup::Membership membership_;
};

class Optimizer {
 public:
  using StateVisitor = std::function<void(const std::string& name, const Tensor& state)>;

  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // One update of every parameter that has a gradient. Where `guard`, one number on the parameters'
  // device, is not finite, no parameter and no moment changes; on CUDA nobody waits to see it, and
  // so step counts go on. Throws Error when rate is not finite or < 0, or the guard is another.
  void step(double rate, const Tensor& guard = {});
  // Marks every gradient empty.
  void zero_grad();

  // Visits all state by name, "<parameter>/<state>", in a fixed order: what a checkpoint holds.
  virtual void each_state(const StateVisitor& visit) const = 0;

  const std::vector<ParameterGroup>& groups() const { return groups_; }
  // Where all parameters are; the CPU when there is none.
  Device device() const { return device_; }

 protected:
  // Throws Error when a parameter is listed twice, is not trainable, has another optimizer, or is
  // on another device than the first; and for a negative factor or decay.
  explicit Optimizer(std::vector<ParameterGroup> groups);

  // `guard` is undefined on the CPU.
  virtual void update(double rate, const Tensor& guard) = 0;

 private:
  std::vector<ParameterGroup> groups_;
  std::vector<Parameter::Claim> claims_;
  Device device_;
};

// Walks the optimizer's state for a checkpoint, each tensor beside its parameter's growth group.
void each_state(State& state, const Optimizer& optimizer);

}  // namespace offshoot
