// Drift detection for the experts of one layer: a trend test on each expert's gradient norms
// (MASS, arXiv 2512.19765, change-point detection; the z-score form of the authors' code).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/growth.h"
#include "engine/row_tensor.h"
#include "mass/options.h"

namespace offshoot {

// One expert's count restarts when it is duplicated; its windows stay. A newborn's are empty.
class ObservationCounts final : public RowMember {
 public:
  ObservationCounts(std::string name, int64_t rows, int64_t reserve_rows);

  std::string_view name() const override { return rows_.name(); }
  int64_t rows() const override { return rows_.rows(); }
  void prepare(const RowChange& change) override { rows_.prepare(change); }
  void commit(const RowChange& change) noexcept override;
  void rollback(const RowChange& change) noexcept override { rows_.rollback(change); }

  // i64 [E, 3]: observations since the restart, norms ever pushed, z-scores ever pushed.
  const Tensor& tensor() const { return rows_.tensor(); }

 private:
  RowTensor rows_;
};

// The windows are members of the layer's growth group, which outlives the detector; they die with
// it, so nothing is kept once monitoring ends.
class DriftDetector {
 public:
  DriftDetector(GrowthGroup& experts, const MassOptions& options);
  DriftDetector(const DriftDetector&) = delete;  // the group points to its windows
  DriftDetector& operator=(const DriftDetector&) = delete;

  // One observation of each expert (by row): the L2 norm g of its gradient. `observed` false:
  // nothing is pushed for it. With the window's mean m and unbiased deviation s, both with g in it:
  //   z = (g - m) / s, from the warm-up's end on.
  // Throws Error when a norm is not finite, and then has pushed nothing.
  void observe(const std::vector<double>& norms, const std::vector<bool>& observed);

  // Warmed up, and its norm window is full.
  bool ready(int64_t row) const;

  // 1 - Phi(sum of the z window / sqrt(w)), Phi the standard normal distribution function. 1 while
  // an invalid z is in the window.
  double p_value(int64_t row) const;

  // For checkpoints, by name: "norms" and "z_scores" f64 [E, w], rings whose next place is the
  // number pushed modulo w, and "counts" as in ObservationCounts.
  template <class Visit>
  void each_state(Visit&& visit) const {
    visit("norms", norms_.tensor());
    visit("z_scores", z_scores_.tensor());
    visit("counts", counts_.tensor());
  }

 private:
  void push_z(int64_t row, double norm);

  const MassOptions& options_;
  RowTensor norms_;
  RowTensor z_scores_;  // NaN: invalid, the window had no deviation
  ObservationCounts counts_;
  GrowthGroup::Membership memberships_[3];
};

}  // namespace offshoot
