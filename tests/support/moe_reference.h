// A whole mixture-of-experts layer as its formulas say it, token by token, in float64 plain loops
// with the backward written out. It shares no code with ops/.
//   r = softmax(gate x)      kept and weights g as in ops/route.h
//   out = sum over kept e of g_e (fc2_e gelu(fc1_e x + b1_e) + b2_e)
#pragma once

#include "engine/tensor.h"
#include "ops/route.h"

namespace offshoot::testing {

// N tokens, E experts of D inputs and H hidden units; all f64.
struct MoeTensors {
  Tensor x;           // [N, D]
  Tensor gate;        // [E, D]
  Tensor fc1_weight;  // [E, H, D]
  Tensor fc1_bias;    // [E, H]
  Tensor fc2_weight;  // [E, D, H]
  Tensor fc2_bias;    // [E, D]
};

struct MoeReference {
  Tensor out;           // [N, D]
  Tensor weights;       // [N, E], 0 where an expert is not kept
  MoeTensors gradient;  // of sum(dout * out)
};

MoeReference moe_reference(const MoeTensors& in, const RouteOptions& options, const Tensor& dout);

}  // namespace offshoot::testing
