#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "engine/error.h"
#include "tools/hmm/study/statistics.h"

namespace offshoot {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Printed tables of Student's distribution, two-sided.
TEST(StudyStatistics, StudentsQuantilesAreThoseOfTheTables) {
  for (const auto& [confidence, degrees, t] : {std::tuple(0.95, 1, 12.7062),
                                               {0.95, 2, 4.30265},
                                               {0.95, 3, 3.18245},
                                               {0.95, 4, 2.77645},
                                               {0.95, 9, 2.26216},
                                               {0.95, 30, 2.04227},
                                               {0.95, 120, 1.97993},
                                               {0.95, 1000, 1.96234},
                                               {0.9, 10, 1.81246},
                                               {0.99, 5, 4.03214},
                                               {0.999, 8, 5.04131},
                                               {0.5, 1, 1.0}}) {
    EXPECT_NEAR(student_quantile(confidence, degrees), t, 6e-6 * t) << confidence << " " << degrees;
  }
  EXPECT_THROW(student_quantile(0.95, 0), Error);
  EXPECT_THROW(student_quantile(1, 3), Error);
  EXPECT_THROW(student_quantile(kNaN, 3), Error);
}

// Hours of sleep gained with two drugs (Student 1908): its differences have mean 1.58 and s 1.23.
TEST(StudyStatistics, PairsAreStudentsOwn) {
  const std::vector<double> a = {1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4};
  const std::vector<double> b = {0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0};
  const Estimate e = paired_difference(a, b);
  EXPECT_EQ(e.n, 10);
  EXPECT_NEAR(e.mean, 1.58, 1e-12);
  EXPECT_NEAR(e.standard_error, 0.3889587, 1e-7);
  EXPECT_NEAR(e.low, 0.7001142, 1e-6);
  EXPECT_NEAR(e.high, 2.4598858, 1e-6);
  EXPECT_TRUE(differs_from_zero(e));
  EXPECT_FALSE(differs_from_zero(paired_difference(a, a)));
  // The same values unpaired say much less.
  EXPECT_GT(estimate(a).standard_error, e.standard_error);
  EXPECT_THROW(paired_difference(a, {b.data(), 9}), Error);
}

TEST(StudyStatistics, WhatIsMissingIsLeftOut) {
  const Estimate e = estimate(std::vector<double>{1, kNaN, 3, 1 / 0.0});
  EXPECT_EQ(e.n, 2);
  EXPECT_DOUBLE_EQ(e.mean, 2);
  EXPECT_DOUBLE_EQ(e.standard_error, 1);
  EXPECT_NEAR(e.high - e.mean, 12.7062, 1e-4);
  const Estimate one = estimate(std::vector<double>{7});
  EXPECT_EQ(one.n, 1);
  EXPECT_EQ(one.mean, 7);
  EXPECT_TRUE(std::isnan(one.standard_error) && std::isnan(one.low) && std::isnan(one.high));
  EXPECT_FALSE(differs_from_zero(one));
  const Estimate none = estimate({});
  EXPECT_EQ(none.n, 0);
  EXPECT_TRUE(std::isnan(none.mean));
  // A pair of which one is missing is none.
  EXPECT_EQ(paired_difference(std::vector<double>{1, 2}, std::vector<double>{kNaN, 1}).n, 1);
}

TEST(StudyStatistics, EqualValuesHaveAnIntervalWithoutLength) {
  const Estimate e = estimate(std::vector<double>{0.5, 0.5, 0.5});
  EXPECT_EQ(e.low, 0.5);
  EXPECT_EQ(e.high, 0.5);
  EXPECT_TRUE(differs_from_zero(e));
}

}  // namespace
}  // namespace offshoot
