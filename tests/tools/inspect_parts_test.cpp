// What the views of offshoot-inspect are made of.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <new>
#include <thread>

#include "tests/engine/file_test.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/guard.h"
#include "tools/inspect/statistics.h"
#include "tools/inspect/text_plot.h"
#include "tools/support/display.h"
#include "tools/support/html.h"
#include "tools/support/text_table.h"

namespace offshoot {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class T>
std::span<const std::byte> bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

TEST(StatisticsTest, OfPiecesAreThoseOfTheWhole) {
  const std::vector<float> first{3, static_cast<float>(kNaN), -4}, second{12};
  Statistics of;
  of.add(H5Type::f32, bytes(first));
  of.add(H5Type::f32, bytes(second));
  EXPECT_EQ(of.count, 4);
  EXPECT_EQ(of.nans, 1);
  EXPECT_EQ(of.infinities, 0);
  EXPECT_EQ(of.finite(), 3);
  EXPECT_EQ(of.min, -4);
  EXPECT_EQ(of.max, 12);
  EXPECT_EQ(of.norm(), 13);
}

TEST(StatisticsTest, OfEveryType) {
  const auto norm = [](H5Type type, const auto& values) {
    Statistics of;
    of.add(type, bytes(values));
    return of.norm();
  };
  EXPECT_EQ(norm(H5Type::f64, std::vector<double>{-3, 4}), 5);
  EXPECT_EQ(norm(H5Type::i32, std::vector<int32_t>{-3, 4}), 5);
  EXPECT_EQ(norm(H5Type::i64, std::vector<int64_t>{-3, 4}), 5);
  EXPECT_EQ(norm(H5Type::u8, std::vector<uint8_t>{3, 4}), 5);
  EXPECT_EQ(norm(H5Type::u64, std::vector<uint64_t>{3, 4}), 5);
}

TEST(StatisticsTest, InfinitiesCountApart) {
  Statistics of;
  of.add(H5Type::f64, bytes(std::vector<double>{kInfinity, 1, -kInfinity, kNaN}));
  EXPECT_EQ(of.infinities, 2);
  EXPECT_EQ(of.finite(), 1);
  EXPECT_EQ(of.max, 1);
}

std::vector<int64_t> histogram(double min, double max, const std::vector<double>& values) {
  Histogram histogram(min, max, 4);
  histogram.add(H5Type::f64, bytes(values));
  return histogram.counts();
}

TEST(HistogramTest, CountsByParts) {
  using Counts = std::vector<int64_t>;
  EXPECT_EQ(histogram(0, 8, {0, 1.9, 2, 5.9, 6, 8, 8, kNaN, kInfinity}), (Counts{2, 1, 1, 3}));
  EXPECT_EQ(histogram(-2, 2, {-2, -1, 0, 1, 2}), (Counts{1, 1, 1, 2}));
  EXPECT_EQ(histogram(5, 5, {5, 5}), (Counts{0, 0, 2, 0}));
  const double huge = std::numeric_limits<double>::max();
  EXPECT_EQ(histogram(-huge, huge, {-huge, huge / 4, huge}), (Counts{1, 0, 1, 1}));
  const double tiny = std::numeric_limits<double>::denorm_min();
  const Counts denormal = histogram(0, tiny, {0, tiny});
  EXPECT_EQ(denormal[0] + denormal[1] + denormal[2] + denormal[3], 2);
}

TEST(HistogramTest, Sparklines) {
  EXPECT_EQ(sparkline({0, 1, 500, 1000}), " ▁▄█");
  EXPECT_EQ(sparkline({0, 0}), "  ");
  EXPECT_EQ(sparkline({}), "");
}

TEST(DisplayTest, NothingMovesTheCursor) {
  EXPECT_EQ(displayable("größer 日本"), "größer 日本");
  EXPECT_EQ(displayable("a\nb\tc"), "a\\nb\\tc");
  EXPECT_EQ(displayable("\x1b[31m\x7f"), "\\x1b[31m\\x7f");
  EXPECT_EQ(displayable("\xc2\x9b"), "\\u009b");              // a C1 control
  EXPECT_EQ(displayable("a\xe2\x80\xae"), "a\\u202e");        // turns the direction
  EXPECT_EQ(displayable("\xff\xc3"), "\\xff\\xc3");           // no UTF-8
  EXPECT_EQ(displayable("\xc0\x8a"), "\\xc0\\x8a");           // a newline, too long
  EXPECT_EQ(displayable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
}

TEST(DisplayTest, CutsAndPads) {
  EXPECT_EQ(columns_of("größer"), 6);
  EXPECT_EQ(cut_end("größer", 6), "größer");
  EXPECT_EQ(cut_end("größer", 4), "grö…");
  EXPECT_EQ(cut_middle("abcdefgh", 5), "ab…gh");
  EXPECT_EQ(cut_middle("abcdefgh", 4), "ab…h");
  EXPECT_EQ(cut_middle("abc", 0), "");
  EXPECT_EQ(pad_left("ö", 3), "  ö");
  EXPECT_EQ(pad_right("ö", 3), "ö  ");
}

TEST(ContentsTest, ReasonsAreWithoutWhereAndFile) {
  EXPECT_EQ(reason_of(Error("[hdf5] a.h5: model/a: is odd"), "a.h5"), "model/a: is odd");
  EXPECT_EQ(reason_of(Error("[hdf5] a.h5: : is odd"), "a.h5"), "/: is odd");
  EXPECT_EQ(reason_of(Error("is odd"), "a.h5"), "is odd");
  EXPECT_EQ(reason_of(Error("[odd"), "a.h5"), "[odd");
}

TEST(ContentsTest, NaturalOrder) {
  EXPECT_TRUE(natural_less("block.2.a", "block.10.a"));
  EXPECT_FALSE(natural_less("block.10.a", "block.2.a"));
  EXPECT_TRUE(natural_less("block.2", "block.2.a"));
  EXPECT_TRUE(natural_less("a1b2", "a1b10"));
  EXPECT_TRUE(natural_less("x99999999999999999999998", "x99999999999999999999999"));
  EXPECT_NE(natural_less("a07", "a7"), natural_less("a7", "a07"));
  EXPECT_FALSE(natural_less("a", "a"));
}

const Terminal kPipe(false, false, 80);

TEST(TextTableTest, AlignsCutsAndDropsEmptyColumns) {
  TextTable table({{"name", TextTable::Align::left}, {"n"}, {"none"}});
  table.row({"a", "1", ""});
  table.row({"a long name of many characters", "12,345", ""}, TextTable::Weight::faint);
  EXPECT_EQ(table.render(kPipe, 1, 0),
            " name                                 n\n"
            " a                                    1\n"
            " a long name of many characters  12,345\n");
  EXPECT_EQ(table.render(kPipe, 0, 24),
            "name                   n\n"
            "a                      1\n"
            "a long n…racters  12,345\n");
  const std::string coloured = table.render(Terminal(true, true, 80), 0, 0);
  EXPECT_TRUE(contains(coloured, "\x1b[2ma long")) << coloured;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// Dots by their numbers in Unicode: every place in a character is used once.
TEST(TextPlotTest, DrawsDotsWhereTheyBelong) {
  TextPlot plot;
  plot.width = 13;
  plot.height = 1;
  plot.x_high = 19;  // two dots to each of 10 columns
  for (int x = 0; x < 8; ++x) {
    plot.curve.push_back({static_cast<double>(2 * x + x / 4), static_cast<double>(x % 4)});
    plot.curve.push_back({0.5, kNaN});
  }
  // Down, in the left halves, then up again in the right ones: rows from below.
  EXPECT_EQ(lines_of(text_plot(plot)).front(), "0 ┤⡀⠄⠂⠁⢀⠠⠐⠈");
}

TEST(TextPlotTest, DrawsALine) {
  TextPlot plot;
  plot.width = 13;
  plot.height = 2;
  plot.x_high = 10;
  plot.curve = {{0, 0}, {10, 10}};
  EXPECT_EQ(text_plot(plot),
            "10 ┤     ⣀⡠⠔⠒⠉\n"
            " 0 ┤⣀⠤⠔⠊⠉\n"
            "   └┬────┬───┬\n"
            "    0    5  10\n");
  plot.steps = true;
  EXPECT_EQ(text_plot(plot),
            "10 ┤         ⢸\n"
            " 0 ┤⣀⣀⣀⣀⣀⣀⣀⣀⣀⣸\n"
            "   └┬────┬───┬\n"
            "    0    5  10\n");
}

TEST(TextPlotTest, KeepsToItsWidth) {
  TextPlot plot;
  plot.height = 7;
  plot.x_high = 3000;
  for (int i = 0; i < 3000; ++i) plot.curve.push_back({i + 1.0, std::sin(i / 100.0) * 1e4});
  plot.marks = {{3000, 12e3}, {10, -12e3}};
  for (const int64_t width : {40, 80, 160, 250}) {
    plot.width = width;
    const std::vector<std::string> lines = lines_of(text_plot(plot));
    EXPECT_EQ(lines.size(), 9u);
    int64_t widest = 0;
    for (const std::string& line : lines) widest = std::max(widest, columns_of(line));
    EXPECT_EQ(widest, width);
  }
  EXPECT_TRUE(contains(text_plot(plot), "○"));
}

TEST(TextPlotTest, LabelsAreNeverLong) {
  TextPlot plot;
  plot.x_high = 10;
  plot.curve = {{0, -1e307}, {10, 1e307}};
  const std::vector<std::string> lines = lines_of(text_plot(plot));
  EXPECT_TRUE(contains(text_plot(plot), "\u22121e+307 ┤")) << text_plot(plot);
  for (const std::string& line : lines) EXPECT_LE(columns_of(line), 80);
  EXPECT_EQ(figure_text(1.25, 1), number_text(1.25, 1));
  EXPECT_EQ(figure_text(-1.5e300, 2), "\u22121.5e+300");
  EXPECT_EQ(figure_text(kNaN, 2), kMissing);
}

TEST(TextPlotTest, WhatIsConstantTakesOneLine) {
  TextPlot plot;
  plot.curve = {{0, 2}, {0.5, kNaN}, {1, 2}};
  EXPECT_EQ(text_plot(plot), "  constant at 2\n");
  plot.marks = {{1, 2.5}};
  EXPECT_EQ(lines_of(text_plot(plot)).size(), 14u);
}

TEST(TextPlotTest, BearsWhatIsNotFinite) {
  TextPlot plot;
  EXPECT_EQ(text_plot(plot), "");
  plot.curve = {{1, kNaN}, {2, kInfinity}};
  EXPECT_EQ(text_plot(plot), "");
  plot.curve = {{0, -1.7e308}, {1, 1.7e308}};
  EXPECT_EQ(text_plot(plot), "");
  plot.curve = {{0, 2}, {0.5, kNaN}, {1, 2}};
  EXPECT_NE(text_plot(plot), "");
  plot.steps = true;
  plot.curve = {{0, 8}, {1, 9}};
  EXPECT_FALSE(contains(text_plot(plot), "8.5"));
}

// What may happen in the child.
class GuardTest : public FileTest {
 protected:
  GuardTest() { put_bytes(path("c.h5"), "x"); }
  std::string error_from(const std::function<Outcome()>& view, ChildLimits limits) const {
    const InputFile file(path("c.h5"));
    return error_of([&] { run_guarded({&file}, limits, view, path("out")); });
  }
  ChildLimits limits_{std::chrono::seconds(60), int64_t{64} << 20};
};

TEST_F(GuardTest, ReturnsWhatTheViewSays) {
  const InputFile file(path("c.h5"));
  const Outcome outcome = run_guarded({&file}, []() -> Outcome { return {1, "text\n"}; });
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.text, "text\n");
  EXPECT_EQ(error_from([]() -> Outcome { throw Error("[x] what it is"); }, limits_),
            "[x] what it is");
}

TEST_F(GuardTest, NamesTheFileOfACrash) {
  const std::string error = error_from(
      []() -> Outcome {
        ::raise(SIGKILL);
        return {};
      },
      limits_);
  EXPECT_EQ(error, fmt::format("[inspect] {}: reading it crashed (signal 9)", path("c.h5")));
  const std::string memory = error_from([]() -> Outcome { throw std::bad_alloc(); }, limits_);
  EXPECT_EQ(memory,
            fmt::format("[inspect] {}: reading it takes more than 64 MiB of memory", path("c.h5")));
  // HDF5 tells it as a fault of the file's.
  const auto unpack = []() -> Outcome {
    throw Error("[hdf5] x: cannot be read: memory allocation failed for deflate uncompression");
  };
  EXPECT_EQ(error_from(unpack, limits_), memory);
  const InputFile file(path("c.h5"));
  EXPECT_THROW(run_guarded({&file}, limits_, unpack), NotRead);
}

TEST_F(GuardTest, TheRootHasAName) {
  const std::string name = path("c.h5");
  EXPECT_EQ(error_from([&]() -> Outcome { throw Error("[hdf5] " + name + ": : is odd"); }, limits_),
            "[hdf5] " + name + ": /: is odd");
}

TEST_F(GuardTest, WaitsNoLongerThanAllowed) {
  limits_.deadline = std::chrono::milliseconds(50);
  const std::string error = error_from(
      [&]() -> Outcome {
        AtomicFile half(path("out"));
        std::this_thread::sleep_for(std::chrono::seconds(60));
        return {};
      },
      limits_);
  EXPECT_EQ(error, fmt::format("[inspect] {}: not read within 0.05 s", path("c.h5")));
  EXPECT_EQ(files(), 1);  // the half-written file went with the child
}

}  // namespace
}  // namespace offshoot
