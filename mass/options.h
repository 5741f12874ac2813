// Every constant and choice of MASS (S. Park, N. Park, "How Many Experts Are Enough? Towards
// Optimal Semantic Specialization for Mixture-of-Experts", arXiv 2512.19765). The paper's text and
// the authors' code differ in places; both behaviours are presets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "optim/optimizer.h"

namespace offshoot {

// `paper`: as the text says; `reference`: as the authors' code does.
enum class MassPreset { paper, reference };

// How a duplication divides gradients. paper: matrices and the gate row projected by rows, biases
// copied. reference: fc1 and the gate row projected, the newborn's other gradients zero.
// clone: both experts keep the whole gradient. project_whole: matrices and the gate row projected
// as one vector each, biases copied.
enum class Decomposition { paper, reference, clone, project_whole };

struct MassOptions {
  MassPreset preset = MassPreset::reference;

  // Schedule, in training steps: monitoring and expansion happen in [phase_begin, phase_end).
  int64_t phase_begin = 0;
  int64_t phase_end = 0;
  int64_t max_experts = 20;  // Kmax

  // Change point: a window of w norms and of w z-scores, T_warmup observations before the first z.
  int64_t warmup = 30;
  int64_t window = 60;
  double alpha = 0.01;        // change point when p-value < alpha
  bool change_point = true;   // false: every ready expert counts as changed
  bool fc1_norm_only = true;  // the norm of fc1's gradient only; false: of all but the gate row
  bool observe_idle = true;   // an expert without tokens pushes its zero gradient
  bool constant_is_invalid = true;  // a window of equal values has an invalid z; false: z = 0
  bool full_z_window = false;       // p-value 1 until the z window is full
  bool relative_norm = false;       // norms are divided by their mean over the layer's experts

  // Alignment: drift when |cos(grad fc1, fc1)| < delta.
  double delta = 0.001;
  bool scale_delta_by_dim = false;  // delta / sqrt(D), D the number of weights in fc1
  bool alignment = true;            // false: every change point is a drift
  bool zero_is_aligned = false;  // a zero gradient or weight fails the test; false: cos 0, passes

  // Stopping rule.
  bool stopping = true;  // false: no probe, no removal, no stop but at max_experts
  int64_t patience = 3;
  bool patience_returns = false;     // a success restores it
  int64_t min_expansions = 1;        // a probe needs more expansions net of removals than this
  bool probe_before_change = false;  // all layers are examined and probed before any is changed
  bool probe_same_dropout = false;   // the training pass' masks; false: fresh ones
  bool stop_removes_last = true;     // the last expert goes when a layer stops

  // Duplication.
  Decomposition decomposition = Decomposition::reference;
  NewbornState newborn = NewbornState::reference;
  bool preserve_function = false;  // ln 2 off both gate logits; needs a gate bias

  // Redundancy loss.
  double redundancy_weight = 0.01;
  bool redundancy_mean = false;    // over the pairs; false: the sum
  bool redundancy_always = false;  // after the expansion phase, too
};

// A preset with the schedule that the authors use for S training steps: phase [0, floor(0.1 S)),
// warmup max(30, floor(0.05 S)), window max(60, floor(0.09 S)).
MassOptions mass_options(MassPreset preset, int64_t steps);

// Throws Error naming the first option that cannot be.
void check(const MassOptions& options);

std::string_view to_string(MassPreset preset);
MassPreset parse_mass_preset(std::string_view text);  // throws Error
std::string_view to_string(Decomposition decomposition);
Decomposition parse_decomposition(std::string_view text);  // throws Error

}  // namespace offshoot
