#include "mass/drift_detector.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "engine/error.h"

namespace offshoot {
namespace {

enum Count { observations, norms_pushed, z_pushed, kCounts };

std::string member_name(const GrowthGroup& experts, std::string_view leaf) {
  return fmt::format("{}/{}", experts.name(), leaf);
}

std::span<double> ring(const RowTensor& rows, int64_t row, int64_t window) {
  return {rows.tensor().data<double>() + row * window, static_cast<size_t>(window)};
}

}  // namespace

ObservationCounts::ObservationCounts(std::string name, int64_t rows, int64_t reserve_rows)
    : rows_(std::move(name), {rows, kCounts}, DType::i64, reserve_rows, NewRow::zero) {}

void ObservationCounts::commit(const RowChange& change) noexcept {
  rows_.commit(change);
  if (change.kind != RowChange::Kind::duplicate) return;
  reinterpret_cast<int64_t*>(rows_.tensor().raw())[change.row * kCounts + observations] = 0;
}

DriftDetector::DriftDetector(GrowthGroup& experts, const MassOptions& options)
    : options_(options),
      norms_(member_name(experts, "norms"), {experts.rows(), options.window}, DType::f64,
             options.max_experts, NewRow::zero),
      z_scores_(member_name(experts, "z_scores"), {experts.rows(), options.window}, DType::f64,
                options.max_experts, NewRow::zero),
      counts_(member_name(experts, "counts"), experts.rows(), options.max_experts),
      memberships_{experts.join(norms_), experts.join(z_scores_), experts.join(counts_)} {}

void DriftDetector::observe(const std::vector<double>& norms, const std::vector<bool>& observed) {
  const int64_t E = norms_.rows(), w = options_.window;
  OFFSHOOT_CHECK(static_cast<int64_t>(norms.size()) == E, "{} norms for {} experts", norms.size(),
                 E);
  double mean = 0;
  for (int64_t row = 0; row < E; ++row) {
    const double norm = norms[static_cast<size_t>(row)];
    if (!std::isfinite(norm)) {
      fail("mass", "gradient norm of expert in row {}: got {}, expected a finite number", row,
           norm);
    }
    mean += norm / static_cast<double>(E);
  }
  // No gradient anywhere: nothing to relate to.
  if (!options_.relative_norm || mean == 0) mean = 1.0;
  for (int64_t row = 0; row < E; ++row) {
    const auto index = static_cast<size_t>(row);
    if (!observed[index]) continue;
    int64_t* counts = counts_.tensor().data<int64_t>() + row * kCounts;
    const double norm = norms[index] / mean;
    ring(norms_, row, w)[static_cast<size_t>(counts[norms_pushed]++ % w)] = norm;
    if (++counts[observations] >= options_.warmup) push_z(row, norm);
  }
}

void DriftDetector::push_z(int64_t row, double norm) {
  int64_t* counts = counts_.tensor().data<int64_t>() + row * kCounts;
  const int64_t w = options_.window, filled = std::min(counts[norms_pushed], w);
  const auto window = ring(norms_, row, w).first(static_cast<size_t>(filled));
  double sum = 0, squares = 0;
  for (const double value : window) sum += value;
  const double mean = sum / static_cast<double>(filled);
  for (const double value : window) squares += (value - mean) * (value - mean);
  // Compared rather than squares == 0: rounding leaves a deviation of equal values.
  const bool constant =
      filled < 2 || std::ranges::all_of(window, [&](double value) { return value == window[0]; });
  double z = (norm - mean) / std::sqrt(squares / static_cast<double>(filled - 1));
  if (constant) z = options_.constant_is_invalid ? std::numeric_limits<double>::quiet_NaN() : 0.0;
  ring(z_scores_, row, w)[static_cast<size_t>(counts[z_pushed]++ % w)] = z;
}

bool DriftDetector::ready(int64_t row) const {
  const int64_t* counts = counts_.tensor().data<int64_t>() + row * kCounts;
  return counts[observations] >= options_.warmup && counts[norms_pushed] >= options_.window;
}

double DriftDetector::p_value(int64_t row) const {
  const int64_t* counts = counts_.tensor().data<int64_t>() + row * kCounts;
  const int64_t w = options_.window, filled = std::min(counts[z_pushed], w);
  if (options_.full_z_window && filled < w) return 1.0;
  double sum = 0;
  for (const double z : ring(z_scores_, row, w).first(static_cast<size_t>(filled))) sum += z;
  if (std::isnan(sum)) return 1.0;  // a window without deviation is still in it
  return 0.5 * std::erfc(sum / std::sqrt(static_cast<double>(w)) / std::sqrt(2.0));
}

}  // namespace offshoot
