#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/error.h"

namespace offshoot {
namespace {

using Kind = Schedule::Kind;

TEST(Schedule, WarmUpRisesFromTheFirstStepToTheWholeRate) {
  for (const Kind kind : {Kind::constant, Kind::linear, Kind::cosine}) {
    const Schedule schedule{kind, 0.8, 20, 4};
    EXPECT_DOUBLE_EQ(schedule.at(0), 0.2);
    EXPECT_DOUBLE_EQ(schedule.at(1), 0.4);
    EXPECT_DOUBLE_EQ(schedule.at(3), 0.8);
    EXPECT_DOUBLE_EQ(schedule.at(4), 0.8);  // u = 0
  }
}

TEST(Schedule, ConstantStays) {
  const Schedule schedule{Kind::constant, 0.8, 20, 4};
  EXPECT_EQ(schedule.at(19), 0.8);
  EXPECT_EQ(schedule.at(1000), 0.8);
}

TEST(Schedule, LinearFallsToZeroAndStaysThere) {
  const Schedule schedule{Kind::linear, 0.8, 20, 4};
  EXPECT_DOUBLE_EQ(schedule.at(8), 0.6);
  EXPECT_DOUBLE_EQ(schedule.at(12), 0.4);
  EXPECT_DOUBLE_EQ(schedule.at(19), 0.05);
  EXPECT_EQ(schedule.at(20), 0.0);
  EXPECT_EQ(schedule.at(21), 0.0);
}

TEST(Schedule, CosineIsHalfAWave) {
  const Schedule schedule{Kind::cosine, 0.8, 12, 0};
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.8);
  EXPECT_DOUBLE_EQ(schedule.at(4), 0.8 * 0.75);  // cos(pi / 3) = 1/2
  EXPECT_DOUBLE_EQ(schedule.at(6), 0.4);
  EXPECT_DOUBLE_EQ(schedule.at(8), 0.2);
  EXPECT_NEAR(schedule.at(12), 0.0, 1e-16);
  EXPECT_NEAR(schedule.at(13), 0.0, 1e-16);
}

TEST(Schedule, RefusesWhatCannotBe) {
  EXPECT_THROW((Schedule{Kind::linear, 0.8, 20, 4}.at(-1)), Error);
  EXPECT_THROW((Schedule{Kind::linear, 0.8, 20, 20}.at(0)), Error);
  EXPECT_THROW((Schedule{Kind::linear, 0.8, 20, -1}.at(0)), Error);
  EXPECT_THROW((Schedule{Kind::linear, 0.8, 0, 0}.at(0)), Error);
}

TEST(Schedule, NamesReadBack) {
  for (const Kind kind : {Kind::constant, Kind::linear, Kind::cosine}) {
    EXPECT_EQ(parse_schedule(to_string(kind)), kind);
  }
  EXPECT_THROW((void)parse_schedule("step"), Error);
}

}  // namespace
}  // namespace offshoot
