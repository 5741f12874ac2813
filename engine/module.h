// Module: something with parameters; Scope: where in the model it stands.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/parameter.h"
#include "engine/random.h"

namespace offshoot {

// What a module is built with. Its name is the prefix of its parameters' names; first values depend
// on the seed and on the parameter's name only, so on no order of construction.
struct Scope {
  std::string name;
  DType dtype = DType::f32;
  uint64_t seed = 0;
  Device device = {};

  // The child's scope: "block" / "ln1" is "block.ln1".
  Scope operator/(std::string_view child) const;
  // The numbers that fill parameter or dropout stream `name`.`leaf`.
  Random random(std::string_view leaf) const;
};

// Modules hold parameters and other modules as members and stay where they were made. What
// forward() takes and gives is each module's own.
class Module {
 public:
  using ParameterVisitor = std::function<void(Parameter&)>;
  using GroupVisitor = std::function<void(GrowthGroup&)>;

  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // Calls visit for every parameter, in a fixed order; a tied one once for every module that shares
  // it.
  virtual void each_parameter(const ParameterVisitor& visit) = 0;
  // Calls visit for every growth group. Modules without one need not override it.
  virtual void each_growth_group(const GroupVisitor& visit) { (void)visit; }
};

// Every parameter once, in walking order. Throws Error when two different ones share a name.
std::vector<Parameter*> parameters(Module& module);

// Those whose name matches a pattern, in which '*' stands for any characters ("block.*.weight").
std::vector<Parameter*> parameters(Module& module, std::string_view pattern);
bool matches(std::string_view name, std::string_view pattern);

// The one called `name`. Throws Error when there is none.
Parameter& parameter(Module& module, std::string_view name);

// Every growth group once. Throws Error when two different ones share a name.
std::vector<GrowthGroup*> growth_groups(Module& module);

// First values, on the CPU, drawn in float64 and rounded to float32, so that both dtypes and both
// devices start from the same numbers.
Tensor normal(const Shape& shape, DType dtype, Random random, double mean, double deviation);
Tensor uniform(const Shape& shape, DType dtype, Random random, double low, double high);
// Of shape [R, C]: orthonormal rows where R <= C, else orthonormal columns; those that Gram and
// Schmidt make of rows, or columns, of standard normal numbers (Saxe et al. 2013, arXiv 1312.6120).
// Throws Error for another shape, or an empty one.
Tensor orthogonal(const Shape& shape, DType dtype, Random random);

}  // namespace offshoot
