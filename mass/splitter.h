// Splits experts in two and remembers whose copy is whose: what every policy that duplicates needs
// (MASS, arXiv 2512.19765, duplication with gradient decomposition and the redundancy loss).
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/context.h"
#include "engine/hdf5_file.h"
#include "engine/state.h"
#include "mass/options.h"
#include "models/moe.h"

namespace offshoot {

// The row that holds a living expert.
int64_t row_of(const MoeLayer& layer, int64_t id);
// The expert that was added last: the highest living id.
int64_t last_id(const MoeLayer& layer);

class ExpertSplitter {
 public:
  using Pairs = std::vector<std::pair<int64_t, int64_t>>;  // ids (source, copy) of living experts

  // Sets how the layers' gradients are divided: matrices, the router's expert rows, and the rest,
  // which counts as biases, as options.decomposition says. Layers outlive the splitter. Throws
  // Error for no layers, a router without expert rows, a pool above max_experts, or
  // preserve_function without a gate bias.
  ExpertSplitter(std::vector<MoeLayer*> layers, const MassOptions& options);

  const std::vector<MoeLayer*>& layers() const { return layers_; }
  const Pairs& pairs(size_t layer) const { return pairs_[layer]; }
  // Throws Error when a pair names an expert that does not live.
  void restore(size_t layer, Pairs pairs);

  // A layer's pairs in a checkpoint: "pairs", ids (source, copy, source, ...).
  void walk_pairs(State state, size_t layer);
  // Before a load: throws Error when the pairs that the file has under /<part>/<layer> are not of
  // experts that live in it.
  void check_pairs(const H5Reader& file, std::string_view part, size_t layer) const;

  // Returns the newborn's id.
  int64_t split(size_t layer, int64_t id, const EditNote& note);
  void remove(size_t layer, int64_t id, const EditNote& note);

  // What leaves expert `id` out of a forward pass.
  std::vector<RowOffset> without(size_t layer, int64_t id) const;

  // Others may edit the pools between two steps: pairs of which one is gone go, too.
  void drop_dead_pairs();

  // Adds weight * L_red's gradient to the routers' rows. Returns weight * L_red over all layers, a
  // scalar on their device; 0 when there is no pair.
  Tensor redundancy_backward();
  Tensor no_redundancy() const;

 private:
  void set_gradient_splits(MoeLayer& layer) const;

  std::vector<MoeLayer*> layers_;
  Decomposition decomposition_;
  bool preserve_function_;
  double redundancy_weight_;
  bool redundancy_mean_;
  std::vector<Pairs> pairs_;
};

}  // namespace offshoot
