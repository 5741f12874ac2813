#include "tools/support/svg_scatter.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "tests/tools/html_faults.h"
#include "tools/support/svg_bars.h"
#include "tools/support/svg_forest.h"

namespace offshoot {
namespace {

using testing::holds;
using testing::holds_unfinite_number;
using testing::tag_faults;

std::vector<std::string> texts(const std::vector<Tick>& ticks) {
  std::vector<std::string> all;
  for (const Tick& tick : ticks) all.push_back(tick.text);
  return all;
}

int64_t count(const std::string& svg, std::string_view text) {
  int64_t found = 0;
  for (size_t at = svg.find(text); at != std::string::npos; at = svg.find(text, at + 1)) ++found;
  return found;
}

TEST(PlotAxis, LogarithmsLieEvenly) {
  const PlotAxis axis = PlotAxis::logarithmic(1e-4, 1e-1, false, 0, 300);
  EXPECT_NEAR(axis(1e-3) - axis(1e-4), axis(1e-1) - axis(1e-2), 1e-9);
  EXPECT_GT(axis(1e-4), 0);
  EXPECT_LT(axis(1e-1), 300);
  EXPECT_TRUE(std::isnan(axis(0)));
  EXPECT_TRUE(std::isnan(axis(-1)));
  EXPECT_TRUE(std::isnan(axis(kNoValue)));
  EXPECT_EQ(texts(axis.ticks(5)), (std::vector<std::string>{"10⁻⁴", "0.001", "0.01", "0.1"}));
  EXPECT_EQ(texts(PlotAxis::logarithmic(1, 20, false, 0, 300).ticks(6)),
            (std::vector<std::string>{"1", "2", "5", "10", "20"}));
  // One value alone has an axis, too.
  EXPECT_TRUE(std::isfinite(PlotAxis::logarithmic(3, 3, false, 0, 300)(3)));
}

TEST(PlotAxis, ZeroStandsBesideTheLogarithms) {
  const PlotAxis axis = PlotAxis::logarithmic(0.5, 4, true, 100, 400);
  EXPECT_GT(axis(0), 100);
  EXPECT_LT(axis(0), axis.zero_break());
  EXPECT_LT(axis.zero_break(), axis(0.5));
  EXPECT_EQ(texts(axis.ticks(4)).front(), "0");
  EXPECT_TRUE(std::isnan(PlotAxis::logarithmic(0.5, 4, false, 100, 400).zero_break()));
}

TEST(PlotAxis, TextsOfValues) {
  EXPECT_EQ(value_text(0), "0");
  EXPECT_EQ(value_text(0.05), "0.05");
  EXPECT_EQ(value_text(0.001), "0.001");
  EXPECT_EQ(value_text(1e-5), "10⁻⁵");
  EXPECT_EQ(value_text(3e-5), "3·10⁻⁵");
  EXPECT_EQ(value_text(64), "64");
  EXPECT_EQ(value_text(1500), "1,500");
  EXPECT_EQ(value_text(-2.5), "\u22122.5");
  EXPECT_EQ(value_text(kNoValue), kMissing);
}

ScatterPlot small_plot() {
  ScatterPlot plot;
  ScatterSeries series{"a <b>", "c1", MarkShape::kCircle, true};
  series.points = {{.x = 5, .y = 2, .y_low = 1.9, .y_high = 2.1},
                   {.x = 10, .y = kNoValue},
                   {.x = 15, .y = 1.9, .label = "here"}};
  plot.series = {series};
  return plot;
}

TEST(ScatterPlot, AGapLiftsThePenAndHasNoMark) {
  const std::string svg = scatter_plot(small_plot());
  EXPECT_EQ(tag_faults(svg), "");
  EXPECT_FALSE(holds_unfinite_number(svg));
  EXPECT_EQ(count(svg, "<circle"), 3);  // two points and the key
  EXPECT_EQ(count(svg, "class=\"error c1\""), 1);
  EXPECT_TRUE(holds(svg, ">here</text>"));
  EXPECT_TRUE(holds(svg, "a &lt;b&gt;"));
  const size_t curve = svg.find("class=\"curve c1\" d=\"");
  ASSERT_NE(curve, std::string::npos);
  EXPECT_EQ(count(svg.substr(curve, svg.find('"', curve + 22) - curve), "M"), 2);
}

TEST(ScatterPlot, NothingToDrawIsAnEmptyFrame) {
  ScatterPlot plot;
  plot.x_scale = Scale::kLog;
  EXPECT_EQ(tag_faults(scatter_plot(plot)), "");
  EXPECT_TRUE(y_range_of(plot).empty());
  ScatterPlot nothing = small_plot();
  for (ScatterPoint& point : nothing.series[0].points)
    point.y = point.y_low = point.y_high = kNoValue;
  const std::string svg = scatter_plot(nothing);
  EXPECT_FALSE(holds_unfinite_number(svg));
  EXPECT_EQ(count(svg, "<circle"), 0);
  EXPECT_EQ(tag_faults(scatter_grid("none", {}, 3)), "");
}

TEST(ScatterPlot, ALogarithmicAxisLeavesOutWhatIsBelowZero) {
  ScatterPlot plot = small_plot();
  plot.x_scale = Scale::kLog;
  plot.series[0].points = {
      {.x = -1, .y = 1}, {.x = 0, .y = 1}, {.x = 1, .y = 1}, {.x = 10, .y = 2}};
  const std::string svg = scatter_plot(plot);
  EXPECT_FALSE(holds_unfinite_number(svg));
  EXPECT_EQ(count(svg, "<circle"), 4);  // three and the key
  EXPECT_EQ(count(svg, "class=\"break\""), 1);
}

TEST(ScatterPlot, LabelsCoverNoMark) {
  ScatterPlot plot;
  ScatterSeries series{"", "c1"};
  for (int i = 0; i < 40; ++i) {
    series.points.push_back({.x = 0.001 * i, .y = 1, .label = "all at one place"});
  }
  series.points.push_back({.x = 1, .y = 1});
  plot.series = {series};
  // There is room for some of them around the heap, for most there is none.
  const int64_t written = count(scatter_plot(plot), "all at one place");
  EXPECT_GE(written, 1);
  EXPECT_LE(written, 8);
}

TEST(ScatterGrid, PlotsStandBesideOneAnother) {
  ScatterPlot plot = small_plot();
  plot.width = 300;
  plot.height = 200;
  plot.right_margin = 60;
  const std::string svg = scatter_grid("three", {plot, plot, plot}, 2);
  EXPECT_EQ(tag_faults(svg), "");
  EXPECT_TRUE(holds(svg, "viewBox=\"0 0 626 426\""));
  EXPECT_EQ(count(svg, "<circle"), 9);
}

TEST(DrawShape, EveryShapeHasItsMiddleThere) {
  for (const MarkShape shape : {MarkShape::kSquare, MarkShape::kDiamond, MarkShape::kTriangle}) {
    Markup svg;
    draw_shape(svg, shape, 30, 40, 4, "c1");
    EXPECT_TRUE(holds(svg.take(), "d=\"M30 40m"));
  }
  Markup none;
  draw_shape(none, MarkShape::kNone, 30, 40, 4, "c1");
  EXPECT_EQ(none.take(), "");
}

TEST(ForestPlot, RowsShareTheirPanels) {
  ForestPlot plot;
  plot.panels = {{"left", "nats", true, false, "", 100}, {"right", "", false, true, "zero", 100}};
  plot.groups = {{"group",
                  {{"row & row", "", "tip", {{1, 0.5, 1.5, "1.0"}, {kNoValue}}},
                   {"other", "", "", {{2, kNoValue, kNoValue, "2.0"}, {-1, -2, 0.5}}}}},
                 {"empty", {}}};
  const std::string svg = forest_plot(plot);
  EXPECT_EQ(tag_faults(svg), "");
  EXPECT_FALSE(holds_unfinite_number(svg));
  EXPECT_EQ(count(svg, "<circle"), 3);
  EXPECT_EQ(count(svg, "class=\"interval "), 2);
  EXPECT_EQ(count(svg, "class=\"zero\""), 1);
  EXPECT_TRUE(holds(svg, "row &amp; row"));
  EXPECT_FALSE(holds(svg, ">empty<"));
  plot.groups[0].rows[0].values.pop_back();
  EXPECT_THROW(forest_plot(plot), Error);
}

TEST(BarPlot, PartsFollowOneAnother) {
  BarPlot plot;
  plot.width = 500;
  plot.label_width = 100;
  plot.right_margin = 100;
  plot.key = {{"one", "c1"}};
  plot.rows = {{"row", {{1, "c1", "t"}, {kNoValue, "c2", "t"}, {3, "c3", "t"}}, "4"},
               {"none", {{-1, "c1", "t"}}, ""}};
  const std::string svg = bar_plot(plot);
  EXPECT_EQ(tag_faults(svg), "");
  EXPECT_FALSE(holds_unfinite_number(svg));
  EXPECT_TRUE(holds(svg, "class=\"part c1\" x=\"100\""));
  EXPECT_TRUE(holds(svg, "class=\"part c3\" x=\"175\""));
  EXPECT_EQ(count(svg, "class=\"part "), 3);  // two and the key
  plot.rows.clear();
  EXPECT_EQ(tag_faults(bar_plot(plot)), "");
}

}  // namespace
}  // namespace offshoot
