#include "mass/drift_detector.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <limits>
#include <map>

#include "engine/error.h"
#include "engine/random.h"

namespace offshoot {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

MassOptions small(int64_t window, int64_t warmup, MassPreset preset = MassPreset::reference) {
  MassOptions options = mass_options(preset, 1000);
  options.window = window;
  options.warmup = warmup;
  options.max_experts = 8;
  return options;
}

std::vector<bool> all(size_t count) { return std::vector<bool>(count, true); }

Tensor state(const DriftDetector& detector, std::string_view name) {
  Tensor found;
  detector.each_state([&](std::string_view n, const Tensor& tensor) {
    if (n == name) found = tensor;
  });
  return found;
}

std::vector<int64_t> counts(const DriftDetector& detector, int64_t row) {
  const Tensor tensor = state(detector, "counts").rows(row, 1);
  const auto elements = tensor.elements<int64_t>();
  return {elements.begin(), elements.end()};
}

std::vector<double> row_of(const Tensor& tensor, int64_t row) {
  const Tensor one = tensor.rows(row, 1);
  return {one.elements<double>().begin(), one.elements<double>().end()};
}

// One expert's norms, one observation each.
DriftDetector& feed(DriftDetector& detector, const std::vector<double>& norms) {
  for (const double norm : norms) detector.observe({norm}, {true});
  return detector;
}

// The same statistics from their definition, over queues by id.
class PlainDetector {
 public:
  PlainDetector(const MassOptions& options, int64_t experts) : options_(options) {
    for (int64_t id = 0; id < experts; ++id) experts_[id];
  }

  void observe(const std::map<int64_t, double>& norms, const std::map<int64_t, bool>& observed) {
    double mean = 0;
    for (const auto& [id, norm] : norms) mean += norm;
    mean /= static_cast<double>(norms.size());
    for (const auto& [id, norm] : norms) {
      if (!observed.at(id)) continue;
      Expert& expert = experts_.at(id);
      push(expert.norms, options_.relative_norm ? norm / mean : norm);
      if (++expert.count >= options_.warmup) push(expert.z, z_score(expert.norms));
    }
  }
  void duplicate(int64_t source, int64_t created) {
    experts_.at(source).count = 0;
    experts_[created] = {};
  }
  void remove(int64_t id) { experts_.erase(id); }

  bool ready(int64_t id) const {
    const Expert& expert = experts_.at(id);
    return expert.count >= options_.warmup &&
           static_cast<int64_t>(expert.norms.size()) == options_.window;
  }
  double p_value(int64_t id) const {
    const std::deque<double>& z = experts_.at(id).z;
    if (options_.full_z_window && static_cast<int64_t>(z.size()) < options_.window) return 1;
    double sum = 0;
    for (const double value : z) sum += value;
    if (std::isnan(sum)) return 1;
    const double s = sum / std::sqrt(static_cast<double>(options_.window));
    return 1 - (1 + std::erf(s / std::sqrt(2.0))) / 2;
  }

 private:
  struct Expert {
    std::deque<double> norms, z;
    int64_t count = 0;
  };

  void push(std::deque<double>& window, double value) const {
    window.push_back(value);
    if (static_cast<int64_t>(window.size()) > options_.window) window.pop_front();
  }
  double z_score(const std::deque<double>& window) const {
    const auto n = static_cast<double>(window.size());
    bool constant = true;
    double mean = 0, variance = 0;
    for (const double g : window) mean += g / n, constant = constant && g == window.front();
    if (constant) return options_.preset == MassPreset::paper ? 0.0 : kNaN;
    for (const double g : window) variance += (g - mean) * (g - mean) / (n - 1);
    return (window.back() - mean) / std::sqrt(variance);
  }

  const MassOptions& options_;
  std::map<int64_t, Expert> experts_;
};

struct Variant {
  MassPreset preset;
  bool full_z, relative, idle;
};

class DriftDetectorRandom : public ::testing::TestWithParam<Variant> {};

TEST_P(DriftDetectorRandom, FollowsAPlainRecomputation) {
  MassOptions options = small(5, 3, GetParam().preset);
  options.full_z_window = GetParam().full_z;
  options.relative_norm = GetParam().relative;
  GrowthGroup group("moe", 3);
  DriftDetector detector(group, options);
  PlainDetector plain(options, 3);
  Random random(7, 0);
  int64_t ready = 0, constant = 0;
  for (int step = 0; step < 400; ++step) {
    // Now and then norms stay the same for a while, so that windows without deviation come up
    // (relative ones would differ by rounding).
    const bool still = !GetParam().relative && step % 40 >= 28;
    std::vector<double> norms;
    std::vector<bool> observed;
    std::map<int64_t, double> norm_of;
    std::map<int64_t, bool> observed_of;
    for (const int64_t id : group.ids()) {
      norms.push_back(still ? 0.1 : 1 + 0.01 * step + random.uniform());
      observed.push_back(!GetParam().idle || random.uniform() < 0.7);
      norm_of[id] = norms.back();
      observed_of[id] = observed.back();
    }
    detector.observe(norms, observed);
    plain.observe(norm_of, observed_of);
    for (int64_t row = 0; row < group.rows(); ++row) {
      const int64_t id = group.ids()[static_cast<size_t>(row)];
      ASSERT_EQ(detector.ready(row), plain.ready(id)) << "step " << step << ", expert " << id;
      ASSERT_NEAR(detector.p_value(row), plain.p_value(id), 1e-12) << "step " << step;
      ready += detector.ready(row);
      constant += detector.ready(row) && detector.p_value(row) == 1;
    }
    if (step % 9 == 8 && group.rows() < 7) {
      const auto row = static_cast<int64_t>(random.uniform() * static_cast<double>(group.rows()));
      const int64_t source = group.ids()[static_cast<size_t>(row)];
      plain.duplicate(source, group.duplicate(row));
    }
    if (step % 13 == 12 && group.rows() > 2) {
      const auto row = static_cast<int64_t>(random.uniform() * static_cast<double>(group.rows()));
      plain.remove(group.ids()[static_cast<size_t>(row)]);
      group.remove(row);
    }
  }
  EXPECT_GT(ready, 300);
  if (GetParam().preset == MassPreset::reference && !GetParam().relative) {
    EXPECT_GT(constant, 50);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, DriftDetectorRandom,
                         ::testing::Values(Variant{MassPreset::paper, false, false, false},
                                           Variant{MassPreset::paper, false, false, true},
                                           Variant{MassPreset::reference, false, false, false},
                                           Variant{MassPreset::reference, true, false, true},
                                           Variant{MassPreset::reference, false, true, false}));

TEST(DriftDetector, PValueOfAShortSeriesByHand) {
  const MassOptions options = small(3, 2);
  GrowthGroup group("moe", 1);
  DriftDetector detector(group, options);
  feed(detector, {1.0, 2.0});
  EXPECT_FALSE(detector.ready(0));  // warmed up, the window is not full
  EXPECT_DOUBLE_EQ(row_of(state(detector, "z_scores"), 0)[0], 0.5 / std::sqrt(0.5));
  feed(detector, {3.0, 4.0});
  EXPECT_TRUE(detector.ready(0));
  // Windows (1,2), (1,2,3), (2,3,4): z = 0.5 / sqrt(0.5), 1, 1; s = 1.5629..., a table's 1 - Phi.
  EXPECT_NEAR(detector.p_value(0), 0.05902, 2e-5);
}

TEST(DriftDetector, ReadyAndFirstZAtTheWarmUpsEnd) {
  const MassOptions options = small(2, 4);
  GrowthGroup group("moe", 1);
  DriftDetector detector(group, options);
  for (int64_t count = 1; count <= 5; ++count) {
    feed(detector, {static_cast<double>(count * count)});
    EXPECT_EQ(detector.ready(0), count >= 4) << count;
    EXPECT_EQ(counts(detector, 0), (std::vector<int64_t>{count, count, std::max(0L, count - 3)}));
  }
}

TEST(DriftDetector, AWindowOfEqualValues) {
  GrowthGroup group("moe", 1);
  const MassOptions paper = small(3, 1, MassPreset::paper), reference = small(3, 1);
  DriftDetector plain(group, paper), invalid(group, reference);
  // 0.1 has a rounded mean: a deviation of equal values that is not zero.
  feed(plain, {0.1, 0.1, 0.1});
  feed(invalid, {0.1, 0.1, 0.1});
  EXPECT_EQ(plain.p_value(0), 0.5);
  EXPECT_EQ(invalid.p_value(0), 1.0);
  // The invalid z leave the window one by one; three later there is none.
  feed(invalid, {0.2, 0.3});
  EXPECT_EQ(invalid.p_value(0), 1.0);
  feed(invalid, {0.4});
  EXPECT_LT(invalid.p_value(0), 0.1);
}

TEST(DriftDetector, AFullZWindowIsWaitedFor) {
  GrowthGroup group("moe", 1);
  MassOptions options = small(4, 3);
  options.full_z_window = true;
  DriftDetector detector(group, options);
  feed(detector, {1, 2, 3, 4, 5});
  EXPECT_TRUE(detector.ready(0));
  EXPECT_EQ(detector.p_value(0), 1.0);  // three z-scores
  feed(detector, {6});
  EXPECT_LT(detector.p_value(0), 0.05);
}

TEST(DriftDetector, RelativeNormsHideACommonTrend) {
  GrowthGroup group("moe", 2);
  MassOptions options = small(6, 2, MassPreset::paper);
  DriftDetector absolute(group, options);
  MassOptions relative_options = options;
  relative_options.relative_norm = true;
  DriftDetector relative(group, relative_options);
  for (int step = 1; step <= 12; ++step) {
    const double wiggle = step % 2 == 0 ? 1.01 : 0.99;
    absolute.observe({step * wiggle, 3.0 * step / wiggle}, all(2));
    relative.observe({step * wiggle, 3.0 * step / wiggle}, all(2));
  }
  EXPECT_LT(absolute.p_value(0), 0.01);
  EXPECT_GT(relative.p_value(0), 0.3);
  // No gradient anywhere: zeros, not 0 / 0.
  relative.observe({0, 0}, all(2));
  EXPECT_TRUE(std::isfinite(relative.p_value(0)));
}

TEST(DriftDetector, AnIdleExpertKeepsCountAndWindows) {
  GrowthGroup group("moe", 2);
  const MassOptions options = small(3, 2);
  DriftDetector detector(group, options);
  detector.observe({1, 1}, all(2));
  detector.observe({2, 2}, {true, false});
  EXPECT_EQ(counts(detector, 0), (std::vector<int64_t>{2, 2, 1}));
  EXPECT_EQ(counts(detector, 1), (std::vector<int64_t>{1, 1, 0}));
  EXPECT_EQ(row_of(state(detector, "norms"), 1), (std::vector<double>{1, 0, 0}));
}

TEST(DriftDetector, DuplicationRestartsTheCountOnly) {
  GrowthGroup group("moe", 2);
  const MassOptions options = small(3, 2);
  DriftDetector detector(group, options);
  for (const double norm : {1.0, 2.0, 5.0, 6.0}) detector.observe({norm, 10 - norm}, all(2));
  const auto norms = row_of(state(detector, "norms"), 1);
  const auto z_scores = row_of(state(detector, "z_scores"), 1);
  const double p_value = detector.p_value(1);
  group.duplicate(1);
  EXPECT_EQ(counts(detector, 1), (std::vector<int64_t>{0, 4, 3}));
  EXPECT_EQ(row_of(state(detector, "norms"), 1), norms);
  EXPECT_EQ(row_of(state(detector, "z_scores"), 1), z_scores);
  EXPECT_EQ(detector.p_value(1), p_value);
  EXPECT_FALSE(detector.ready(1));
  EXPECT_TRUE(detector.ready(0));
  EXPECT_EQ(counts(detector, 2), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(row_of(state(detector, "norms"), 2), (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(detector.p_value(2), 0.5);
  EXPECT_FALSE(detector.ready(2));
}

TEST(DriftDetector, RemovalMovesTheLastExpertsStatistics) {
  GrowthGroup group("moe", 3);
  const MassOptions options = small(3, 2);
  DriftDetector detector(group, options);
  for (const double norm : {1.0, 2.0, 5.0, 3.0}) {
    detector.observe({norm, 1, norm * norm}, {true, false, true});
  }
  const auto norms = row_of(state(detector, "norms"), 2);
  const double p_value = detector.p_value(2);
  group.remove(0);
  EXPECT_EQ(row_of(state(detector, "norms"), 0), norms);
  EXPECT_EQ(detector.p_value(0), p_value);
  EXPECT_EQ(counts(detector, 1), (std::vector<int64_t>{0, 0, 0}));
}

TEST(DriftDetector, ANormThatIsNotFiniteIsAnErrorAndPushesNothing) {
  GrowthGroup group("moe", 2);
  const MassOptions options = small(3, 2);
  DriftDetector detector(group, options);
  detector.observe({1, 2}, all(2));
  for (const double bad : {kNaN, std::numeric_limits<double>::infinity()}) {
    EXPECT_THROW(detector.observe({1, bad}, all(2)), Error);
    EXPECT_THROW(detector.observe({1, bad}, {true, false}), Error);
  }
  EXPECT_EQ(counts(detector, 0), (std::vector<int64_t>{1, 1, 0}));
  EXPECT_THROW(detector.observe({1}, all(1)), Error);
}

TEST(DriftDetector, ItsWindowsLeaveTheGroupWithIt) {
  GrowthGroup group("moe", 2);
  const MassOptions options = small(3, 2);
  const int64_t before = storage_stats().growable_bytes;
  {
    const DriftDetector detector(group, options);
    EXPECT_GT(storage_stats().growable_bytes, before);
  }
  EXPECT_EQ(storage_stats().growable_bytes, before);
  EXPECT_EQ(group.duplicate(0), 2);
}

}  // namespace
}  // namespace offshoot
