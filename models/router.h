// Routers: which experts see a token, and with what weight.
#pragma once

#include <cstdint>

#include "engine/context.h"
#include "engine/module.h"
#include "ops/route.h"

namespace offshoot {

// What a router decided for N tokens and E experts.
struct Routed {
  Tensor logits;  // [N, E]
  Tensor probs;   // [N, E]: probabilities, or scores in [0, 1] that each stand alone
  Routing routing;
};

// A policy. Its parameters have one row an expert and are members of the pool's growth group; E is
// read from their shape on every call.
class Router : public Module {
 public:
  // x [N, D]. Experts in context.row_offsets (by the group's name) get that much added to their
  // logits; minus infinity leaves one out. `row_alignment` is what the layer wants of
  // RouteOptions; one that ignores it costs time on CUDA.
  virtual Routed forward(Context& context, const Tensor& x, int64_t row_alignment) = 0;

  // [E, ...], whose row e says which tokens expert e wants ("the gate row"): growth divides its
  // gradient, a redundancy loss compares its rows. Null when there is none.
  virtual Parameter* expert_rows() { return nullptr; }
};

// `logits` [N, E] with what the context adds to the experts' rows; itself where it adds nothing.
// Throws Error when a row is out of range.
Tensor add_row_offsets(Context& context, const GrowthGroup& experts, const Tensor& logits);

}  // namespace offshoot
