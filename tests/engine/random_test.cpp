#include "engine/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

using Block = std::array<uint32_t, 4>;

// Known-answer vectors published with the authors' Random123 library.
TEST(Philox, MatchesThePublishedVectors) {
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Published FNV-1a values.
TEST(StreamOf, IsFnv1a) {
  EXPECT_EQ(stream_of(""), 0xcbf29ce484222325u);
  EXPECT_EQ(stream_of("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(stream_of("foobar"), 0x85944171f73967e8u);
}

TEST(Random, DrawsTheBlocksOfItsStreamInOrder) {
  const uint64_t seed = 0x0123456789abcdef, stream = 0xfedcba9876543210;
  Random random(seed, stream);
  for (uint32_t block = 0; block < 3; ++block) {
    const Block expected = philox({block, 0, 0x76543210, 0xfedcba98}, {0x89abcdef, 0x01234567});
    for (const uint32_t word : expected) EXPECT_EQ(random.next_u32(), word);
  }
  EXPECT_EQ(random.position(), 12u);
}

TEST(Random, CarriesTheBlockNumberIntoTheSecondWord) {
  Random random(7, 9, (uint64_t{1} << 34) + 1);
  const Block expected = philox({0, 1, 9, 0}, {7, 0});
  EXPECT_EQ(random.next_u32(), expected[1]);
}

TEST(Random, ResumesAtAnyPosition) {
  Random whole(42, stream_of("layer.weight"));
  std::vector<uint32_t> words;
  for (int i = 0; i < 23; ++i) words.push_back(whole.next_u32());
  for (uint64_t position = 0; position < words.size(); ++position) {
    Random resumed(42, stream_of("layer.weight"), position);
    for (uint64_t i = position; i < words.size(); ++i) EXPECT_EQ(resumed.next_u32(), words[i]);
  }
}

TEST(Random, NextU64IsTwoWordsLowFirst) {
  Random words(1, 2, 3), pairs(1, 2, 3);
  for (int i = 0; i < 5; ++i) {
    const uint64_t first = words.next_u32();
    const uint64_t second = words.next_u32();
    EXPECT_EQ(pairs.next_u64(), first | second << 32);
  }
}

TEST(Random, UniformFillsTheUnitInterval) {
  constexpr int kCount = 100000, kBins = 20;
  Random random(3, 0);
  std::vector<int> bins(kBins);
  for (int i = 0; i < kCount; ++i) {
    const double u = random.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<size_t>(u * kBins)];
  }
  double chi_squared = 0;
  for (const int count : bins) {
    const double expected = double{kCount} / kBins;
    chi_squared += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_squared, 43.8);  // 19 degrees of freedom, 0.1 %
}

TEST(Random, BelowIsUniformForBoundsThatDoNotDivide) {
  constexpr int kCount = 70000;
  Random random(4, 0);
  std::vector<int> counts(7);
  for (int i = 0; i < kCount; ++i) ++counts[static_cast<size_t>(random.below(7))];
  double chi_squared = 0;
  for (const int count : counts) chi_squared += std::pow(count - kCount / 7.0, 2) / (kCount / 7.0);
  EXPECT_LT(chi_squared, 22.5);  // 6 degrees of freedom, 0.1 %
}

// Without the redraw, x mod (3 * 2^61) would fall into the lower two thirds with 3/4.
TEST(Random, BelowHasNoBiasForLargeBounds) {
  constexpr int kCount = 20000;
  constexpr int64_t kThird = int64_t{1} << 61;
  Random random(5, 0);
  int lower = 0;
  for (int i = 0; i < kCount; ++i) lower += random.below(3 * kThird) < 2 * kThird;
  EXPECT_NEAR(lower / double{kCount}, 2.0 / 3.0, 0.015);
}

TEST(Random, BelowChecksItsBound) {
  Random random(6, 0);
  EXPECT_EQ(random.below(1), 0);
  EXPECT_THROW(random.below(0), Error);
  EXPECT_THROW(random.below(-1), Error);
}

TEST(Random, NormalHasTheMomentsOfANormal) {
  constexpr int kCount = 200000;
  Random random(8, 0);
  double sum = 0, squares = 0, fourths = 0;
  int beyond_two = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
    fourths += x * x * x * x;
    beyond_two += std::abs(x) > 2;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.01);
  EXPECT_NEAR(squares / kCount, 1.0, 0.015);
  EXPECT_NEAR(fourths / kCount, 3.0, 0.1);
  EXPECT_NEAR(beyond_two / double{kCount}, 0.0455, 0.002);
  EXPECT_EQ(random.position(), 4u * kCount);
}

}  // namespace
}  // namespace offshoot
