#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

template <class S>
auto draws(S& sampler, int64_t count) {
  std::vector<decltype(sampler.next())> drawn;
  for (int64_t i = 0; i < count; ++i) drawn.push_back(sampler.next());
  return drawn;
}

// Every draw, made by a fresh sampler sent to its position, equals the draw made in order.
template <class Make>
void expect_seeks_exactly(Make make, int64_t count) {
  auto in_order = make();
  const auto expected = draws(in_order, count);
  EXPECT_EQ(in_order.position(), count);
  auto jumping = make();
  for (int64_t position = count - 1; position >= 0; position -= 3) {
    jumping.seek(position);
    EXPECT_EQ(jumping.position(), position);
    EXPECT_EQ(jumping.next(), expected[static_cast<size_t>(position)]);
    EXPECT_EQ(jumping.position(), position + 1);
  }
}

TEST(SequentialSampler, CountsRound) {
  SequentialSampler sampler(3);
  EXPECT_EQ(draws(sampler, 7), (std::vector<int64_t>{0, 1, 2, 0, 1, 2, 0}));
  EXPECT_EQ(sampler.epoch(), 2);
  expect_seeks_exactly([] { return SequentialSampler(3); }, 10);
}

TEST(ShuffledSampler, PermutesEveryEpochAnew) {
  constexpr int64_t kCount = 97;
  ShuffledSampler sampler(kCount, 5);
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    EXPECT_EQ(sampler.epoch(), epoch);
    const auto order = draws(sampler, kCount);
    EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), size_t{kCount});
    EXPECT_GE(*std::min_element(order.begin(), order.end()), 0);
    EXPECT_LT(*std::max_element(order.begin(), order.end()), kCount);
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 4u);
}

TEST(ShuffledSampler, DrawsAllPermutationsAlike) {
  constexpr int64_t kEpochs = 12000;
  ShuffledSampler sampler(4, 6);
  std::map<std::vector<int64_t>, int> counts;
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) ++counts[draws(sampler, 4)];
  ASSERT_EQ(counts.size(), 24u);
  double chi_squared = 0;
  for (const auto& [order, count] : counts) {
    const double expected = kEpochs / 24.0;
    chi_squared += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_squared, 49.7);  // 23 degrees of freedom, 0.1 %
}

TEST(ShuffledSampler, DependsOnSeedAndPositionOnly) {
  expect_seeks_exactly([] { return ShuffledSampler(7, 11); }, 40);
  ShuffledSampler one(50, 1), same(50, 1), other(50, 2);
  const auto order = draws(one, 50);
  EXPECT_EQ(order, draws(same, 50));
  EXPECT_NE(order, draws(other, 50));
}

TEST(ShuffledSampler, ServesOneItem) {
  ShuffledSampler sampler(1, 3);
  EXPECT_EQ(draws(sampler, 3), (std::vector<int64_t>{0, 0, 0}));
}

TEST(WindowSampler, DrawsDocumentsAlikeAndAllStartsThatFit) {
  const std::vector<int64_t> lengths{5, 9, 12};
  constexpr int64_t kCount = 30000;
  WindowSampler sampler(lengths, 5, 4);
  std::vector<std::map<int64_t, int>> counts(lengths.size());
  for (int64_t i = 0; i < kCount; ++i) {
    const Window window = sampler.next();
    ASSERT_LE(window.start + 5, lengths.at(static_cast<size_t>(window.document)));
    ++counts[static_cast<size_t>(window.document)][window.start];
  }
  for (size_t document = 0; document < lengths.size(); ++document) {
    const auto starts = static_cast<size_t>(lengths[document] - 5 + 1);
    ASSERT_EQ(counts[document].size(), starts);
    const double expected = kCount / 3.0 / static_cast<double>(starts);
    for (const auto& [start, count] : counts[document]) {
      EXPECT_NEAR(count, expected, 5 * std::sqrt(expected));
    }
  }
}

TEST(WindowSampler, DependsOnSeedAndPositionOnly) {
  const std::vector<int64_t> lengths{100, 65, 300};
  expect_seeks_exactly([&] { return WindowSampler(lengths, 65, 9); }, 50);
  WindowSampler one(lengths, 10, 1), same(lengths, 10, 1), other(lengths, 10, 2);
  const auto windows = draws(one, 50);
  EXPECT_EQ(windows, draws(same, 50));
  EXPECT_NE(windows, draws(other, 50));
}

TEST(Sampler, RefusesWhatCannotBeServed) {
  EXPECT_THROW(SequentialSampler(0), Error);
  EXPECT_THROW(ShuffledSampler(-1, 0), Error);
  EXPECT_THROW(WindowSampler({}, 1, 0), Error);
  EXPECT_THROW(WindowSampler({4, 3}, 4, 0), Error);
  EXPECT_THROW(WindowSampler({4}, 0, 0), Error);
  SequentialSampler sampler(2);
  EXPECT_THROW(sampler.seek(-1), Error);
  EXPECT_EQ(sampler.position(), 0);
}

}  // namespace
}  // namespace offshoot
