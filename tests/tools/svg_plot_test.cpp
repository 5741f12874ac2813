#include "tools/support/svg_plot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(Markup, EscapesAndBalances) {
  Markup page;
  page.open("p", {{"title", "a\"b<c>"}}).text("x < y & z\x01").close();
  EXPECT_EQ(page.take(), "<p title=\"a&quot;b&lt;c&gt;\">x &lt; y &amp; z\ufffd</p>\n");
  page.open("b");
  EXPECT_THROW(page.take(), Error);
  page.close();
  EXPECT_THROW(page.close(), Error);
}

TEST(Numbers, ReadWell) {
  EXPECT_EQ(number_text(-1.25, 1), "\u22121.2");
  EXPECT_EQ(number_text(-0.0001, 2), "0.00");
  EXPECT_EQ(number_text(kNaN, 2), kMissing);
  EXPECT_EQ(number_text(1 / 0.0, 2), kMissing);
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1234567), "1,234,567");
  EXPECT_EQ(count_text(-1234), "\u22121,234");
  EXPECT_EQ(signed_text(0.5, 1), "+0.5");
  EXPECT_EQ(signed_text(0, 1), "0.0");
  EXPECT_EQ(probability_text(0), "0");
  EXPECT_EQ(probability_text(0.00421), "0.0042");
  EXPECT_EQ(probability_text(3.14e-5), "3.1·10⁻⁵");
  EXPECT_EQ(probability_text(9.99e-5), "1.0·10⁻⁴");
  EXPECT_EQ(probability_text(-2e-12), "\u22122.0·10⁻¹²");
  EXPECT_EQ(share_text(0.1234), "12.3%");
  EXPECT_EQ(bytes_text(1000), "1000 B");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(duration_text(75.4), "1 min 15 s");
  EXPECT_EQ(duration_text(3700), "1 h 1 min");
  EXPECT_EQ(tick_text(2000, 500), "2,000");
  EXPECT_EQ(tick_text(0.15, 0.05), "0.15");
}

TEST(Axis, MapsLinearlyAndTicksRoundly) {
  const Axis axis(0, 3000, 100, 700);
  EXPECT_DOUBLE_EQ(axis(0), 100);
  EXPECT_DOUBLE_EQ(axis(1500), 400);
  EXPECT_EQ(axis.ticks(6), (std::vector<double>{0, 500, 1000, 1500, 2000, 2500, 3000}));
  EXPECT_EQ(Axis(1.2, 2.9, 0, 1).ticks(3), (std::vector<double>{1.5, 2, 2.5}));
  EXPECT_EQ(Axis(5, 5, 0, 10)(5), 0);  // an empty range is one wide
}

TEST(Axis, FocusStretchesTheMiddle) {
  const Axis axis = Axis::focused(0, 3000, 260, 300, 0.6, 0, 1000);
  EXPECT_DOUBLE_EQ(axis(0), 0);
  EXPECT_DOUBLE_EQ(axis(3000), 1000);
  EXPECT_DOUBLE_EQ(axis(300) - axis(260), 600);
  EXPECT_GE(axis(260), 80);
  EXPECT_EQ(axis.breaks(), (std::vector<double>{260, 300}));
  double before = -1;
  for (double step = 0; step <= 3000; ++step) {
    EXPECT_GT(axis(step), before);
    before = axis(step);
  }
  const std::vector<double> ticks = axis.ticks(5);
  EXPECT_TRUE(std::is_sorted(ticks.begin(), ticks.end()));
  EXPECT_EQ(ticks.front(), 0);
  EXPECT_EQ(ticks.back(), 3000);
  // Focus at the very start: two pieces, no break at 0.
  const Axis start = Axis::focused(0, 100, 0, 10, 0.5, 0, 100);
  EXPECT_EQ(start.breaks(), std::vector<double>{10});
  EXPECT_DOUBLE_EQ(start(10), 50);
}

TEST(Decimation, KeepsEverySpike) {
  std::vector<Point> points;
  for (int i = 0; i < 100'003; ++i) points.push_back({static_cast<double>(i), std::sin(i * 0.001)});
  points[31337].y = 40;
  points[77777].y = -30;
  const std::vector<Point> kept = decimate_extremes(points, 500);
  EXPECT_LE(kept.size(), 1000u);
  EXPECT_TRUE(std::any_of(kept.begin(), kept.end(), [](const Point& p) { return p.y == 40; }));
  EXPECT_TRUE(std::any_of(kept.begin(), kept.end(), [](const Point& p) { return p.y == -30; }));
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end(),
                             [](const Point& a, const Point& b) { return a.x < b.x; }));
  EXPECT_EQ(decimate_extremes({{0, 1}, {1, 2}}, 5).size(), 2u);
}

TEST(Decimation, MeansLeaveOutWhatIsMissing) {
  std::vector<Point> points;
  for (int i = 0; i < 12; ++i) points.push_back({static_cast<double>(i), static_cast<double>(i)});
  points[1].y = kNaN;
  for (int i = 4; i < 8; ++i) points[static_cast<size_t>(i)].y = kNaN;
  const std::vector<Point> means = decimate_means(points, 3);
  ASSERT_EQ(means.size(), 3u);
  EXPECT_DOUBLE_EQ(means[0].y, (0 + 2 + 3) / 3.0);
  EXPECT_TRUE(std::isnan(means[1].y));
  EXPECT_DOUBLE_EQ(means[2].y, 9.5);
  EXPECT_TRUE(std::isnan(decimate_extremes(points, 3)[2].y));
}

TEST(Smooth, IsAMovingMean) {
  std::vector<Point> points;
  for (int i = 0; i < 9; ++i) points.push_back({static_cast<double>(i), i == 4 ? 5.0 : 0.0});
  const std::vector<Point> mean = smooth(points, 4);
  EXPECT_DOUBLE_EQ(mean[0].y, 0);
  EXPECT_DOUBLE_EQ(mean[4].y, 1);
  EXPECT_DOUBLE_EQ(mean[6].y, 1);
  EXPECT_DOUBLE_EQ(mean[7].y, 0);
  points[3].y = kNaN;
  EXPECT_DOUBLE_EQ(smooth(points, 4)[4].y, 1.25);
}

TEST(PathData, LiftsThePenAtAGap) {
  const Axis x(0, 10, 0, 100);
  const Axis y(0, 1, 10, 0);
  EXPECT_EQ(path_data({{0, 0}, {1, 1}, {2, kNaN}, {3, 0.5}}, x, y, false), "M0 10L10 0M30 5h0");
  EXPECT_EQ(path_data({{0, 0}, {5, 1}}, x, y, true), "M0 10H50V0");
}

TEST(SpreadLabels, KeepsOrderAndDistance) {
  const std::vector<double> at = spread_labels({10, 11, 12, 200, 205}, 16, 0, 210);
  for (size_t i = 1; i < at.size(); ++i) EXPECT_GE(at[i] - at[i - 1], 16 - 1e-9);
  EXPECT_LE(at.back(), 210);
  EXPECT_EQ(spread_labels({50}, 16, 0, 100), std::vector<double>{50});
}

TEST(LinePlot, DrawsNothingForMissingValues) {
  LinePlot plot;
  plot.curves.push_back({"loss", "c1", CurveStyle::kDots, {{0, kNaN}, {1, 2}}});
  plot.lines.push_back({kNaN, "floor", "c2"});
  const std::string svg = line_plot(plot);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("floor"), std::string::npos);
  EXPECT_EQ(svg.find("<circle", svg.find("<circle") + 1), std::string::npos);
}

}  // namespace
}  // namespace offshoot
