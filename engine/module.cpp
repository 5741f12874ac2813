#include "engine/module.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "engine/error.h"

namespace offshoot {
namespace {

template <class T>
void add_once(std::vector<T*>& all, T& item, std::string_view what) {
  if (std::ranges::find(all, &item) != all.end()) return;
  const bool taken =
      std::ranges::any_of(all, [&](const T* other) { return other->name() == item.name(); });
  if (taken) fail("module", "{}: got two called {}, expected distinct names", what, item.name());
  all.push_back(&item);
}

template <class Draw>
Tensor filled(const Shape& shape, DType dtype, Draw&& draw) {
  Tensor tensor(shape, dtype);
  dispatch_float("module", dtype, [&]<class T>(T) {
    for (T& value : tensor.elements<T>()) value = static_cast<T>(static_cast<float>(draw()));
  });
  return tensor;
}

// Makes `count` vectors of `length`, one behind the other, orthonormal. Twice,
// because rounding leaves the first time's not quite orthogonal.
void orthonormalise(std::vector<double>& vectors, int64_t count, int64_t length) {
  for (int64_t i = 0; i < count; ++i) {
    const auto own = vectors.begin() + i * length;
    for (int64_t j = 0; j < 2 * i; ++j) {
      const auto other = vectors.begin() + j % i * length;
      const double along = std::inner_product(own, own + length, other, 0.0);
      for (int64_t d = 0; d < length; ++d) own[d] -= along * other[d];
    }
    const double norm = std::sqrt(std::inner_product(own, own + length, own, 0.0));
    std::for_each(own, own + length, [norm](double& value) { value /= norm; });
  }
}

}  // namespace

Scope Scope::operator/(std::string_view child) const {
  Scope scope = *this;
  scope.name += name.empty() ? std::string(child) : fmt::format(".{}", child);
  return scope;
}

Random Scope::random(std::string_view leaf) const {
  return Random(seed, stream_of((*this / leaf).name));
}

std::vector<Parameter*> parameters(Module& module) {
  std::vector<Parameter*> all;
  module.each_parameter([&](Parameter& p) { add_once(all, p, "parameters"); });
  return all;
}

std::vector<Parameter*> parameters(Module& module, std::string_view pattern) {
  std::vector<Parameter*> chosen = parameters(module);
  std::erase_if(chosen, [&](const Parameter* p) { return !matches(p->name(), pattern); });
  return chosen;
}

bool matches(std::string_view name, std::string_view pattern) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() != '*') {
    return !name.empty() && name.front() == pattern.front() &&
           matches(name.substr(1), pattern.substr(1));
  }
  for (size_t skipped = 0; skipped <= name.size(); ++skipped) {
    if (matches(name.substr(skipped), pattern.substr(1))) return true;
  }
  return false;
}

Parameter& parameter(Module& module, std::string_view name) {
  const std::vector<Parameter*> all = parameters(module);
  const auto found = std::ranges::find(all, name, &Parameter::name);
  if (found == all.end()) fail("module", "got parameter {}, expected one of the model's", name);
  return **found;
}

std::vector<GrowthGroup*> growth_groups(Module& module) {
  std::vector<GrowthGroup*> all;
  module.each_growth_group([&](GrowthGroup& group) { add_once(all, group, "growth groups"); });
  return all;
}

Tensor normal(const Shape& shape, DType dtype, Random random, double mean, double deviation) {
  return filled(shape, dtype, [&] { return mean + deviation * random.normal(); });
}

Tensor uniform(const Shape& shape, DType dtype, Random random, double low, double high) {
  return filled(shape, dtype, [&] { return low + (high - low) * random.uniform(); });
}

Tensor orthogonal(const Shape& shape, DType dtype, Random random) {
  if (shape.rank() != 2 || shape.size() == 0) {
    fail("module", "orthogonal: got shape {}, expected [R, C], both at least 1", to_string(shape));
  }
  const int64_t count = std::min(shape[0], shape[1]), length = std::max(shape[0], shape[1]);
  const bool by_rows = shape[0] <= shape[1];
  std::vector<double> vectors(static_cast<size_t>(count * length));
  std::ranges::generate(vectors, [&] { return random.normal(); });
  orthonormalise(vectors, count, length);
  int64_t i = 0;
  return filled(shape, dtype, [&] {
    const int64_t row = i / shape[1], column = i % shape[1];
    ++i;
    return vectors[static_cast<size_t>(by_rows ? row * length + column : column * length + row)];
  });
}

}  // namespace offshoot
