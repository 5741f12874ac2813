// A controller over expert pools whose gradients, token counts and probes the test writes itself.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mass/controller.h"

namespace offshoot::testing {

// What an expert's fc1 gradient looks like in one step; the other gradients are zero.
struct FakeGradient {
  double norm = 1.0;
  double cosine = 1.0;  // with its weight: 1 is no drift, 0 is one
  int64_t tokens = 5;
};
using FakeGradients = std::map<int64_t, FakeGradient>;  // by id; others have the default

struct ProbeCall {
  std::map<std::string, std::vector<RowOffset>> offsets;
  bool fresh_dropout;
  std::vector<int64_t> experts;  // of each layer, at the call
};

// Layers "a", "b", ... of `experts` experts (D = 2, H = 3, float64, every fc1 weight 1).
class FakePools {
 public:
  FakePools(const MassOptions& options, int64_t experts, int64_t layers = 1,
            bool gate_bias = false);

  MassController& controller() { return *controller_; }
  MoeLayer& layer(size_t index = 0) { return *layers_[index]; }
  int64_t step() const { return step_; }
  void skip_to(int64_t step) { step_ = step; }

  // One step: writes gradients by layer and calls grow(). Each probe returns the loss that has the
  // next of `gains`; a probe too many or too few fails the test.
  std::vector<GrowthEvent> advance(const std::vector<FakeGradients>& gradients,
                                   const std::vector<double>& gains = {});

  // The same with experts, by layer, that drift if they are ready and a change point is not asked
  // for. Returns the events as text: "expand 0>2", "keep 2", "reject 2", "stop 2" or "stop",
  // preceded by the layer ("b: keep 2") where there are several.
  std::vector<std::string> drift(const std::vector<std::vector<int64_t>>& ids,
                                 const std::vector<double>& gains = {});

  const std::vector<ProbeCall>& probes() const { return probes_; }

 private:
  std::vector<std::unique_ptr<MoeLayer>> layers_;
  std::unique_ptr<MassController> controller_;
  int64_t step_ = 0;
  std::vector<ProbeCall> probes_;
};

// A preset with which the cosine alone decides: experts are ready after two observations, a source
// one step after its duplication.
MassOptions cosine_decides(MassPreset preset);

}  // namespace offshoot::testing
