// What a mixture-of-experts layer tells a context's sink, once a forward pass.
#pragma once

#include <string>

#include "models/router.h"

namespace offshoot {

class MoeLayer;

// References hold during LayerSink::add() only; tensors may be kept.
struct LayerRecord {
  MoeLayer& layer;
  const std::string& name;  // the layer's dotted name
  const Routed& routed;
  const Tensor& input;           // [N, D], what the router saw
  const Tensor& expert_outputs;  // [R, D], rows in expert order, unweighted; no shared one
};

}  // namespace offshoot
