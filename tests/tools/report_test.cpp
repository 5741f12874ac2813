#include "tools/hmm/report.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <set>
#include <string_view>

#include "engine/file.h"
#include "tests/tools/html_faults.h"
#include "tests/tools/report_demo.h"

namespace offshoot {
namespace {

using testing::demo_report;
using testing::holds;
using testing::holds_unfinite_number;
using testing::tag_faults;

// A folder of this case's own, gone at its end.
class ReportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) /
              (std::string("offshoot_report_") + info->name() + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

TEST(TagFaults, AreFound) {
  EXPECT_EQ(tag_faults("<!doctype html><p>a<br/>b</p>"), "");
  EXPECT_EQ(tag_faults("<p><b>a</p></b>"), "</p> closes nothing");
  EXPECT_EQ(tag_faults("<p>a"), "<p> stays open");
}

TEST_F(ReportTest, DemoIsBalancedAndStandsAlone) {
  const std::string page = report_html(demo_report());
  EXPECT_EQ(tag_faults(page), "");
  EXPECT_TRUE(holds(page, "From 8 to 12 experts"));
  EXPECT_TRUE(holds(page, "+0.555"));
  for (const std::string_view fetched : {"http:", "https:", "<script", "@import", "url("}) {
    EXPECT_FALSE(holds(page, fetched)) << fetched;
  }
  EXPECT_FALSE(holds_unfinite_number(page));
}

TEST_F(ReportTest, EveryMethodAndAnEmptyRecordGiveABalancedPage) {
  for (const std::string method : {"mass", "topk", "topp", "dense", ""}) {
    ReportData data = demo_report(50);
    data.method = method;
    data.layers[0].events.clear();
    data.layers[0].lineage.clear();
    data.experts = data.layers[0].experts = 8;
    const std::string page = report_html(data);
    EXPECT_EQ(tag_faults(page), "");
    EXPECT_FALSE(holds(page, "Lineage")) << method;
    EXPECT_EQ(holds(page, "What each expert does"), method != "dense");
  }
  const std::string page = report_html(ReportData{});
  EXPECT_EQ(tag_faults(page), "");
  EXPECT_FALSE(holds(page, "<svg"));
}

TEST_F(ReportTest, StringsAreEscaped) {
  ReportData data = demo_report(20);
  const std::string hostile = "<script>alert(\"1\" & '2')</script>";
  data.method = data.preset = data.routing = hostile;
  data.layers[0].events[0].kind = hostile;
  data.configuration = {{hostile, hostile}};
  data.provenance.engine_version = data.provenance.build = data.provenance.command = hostile;
  const std::string page = report_html(data);
  EXPECT_EQ(tag_faults(page), "");
  EXPECT_FALSE(holds(page, "<script"));
  EXPECT_TRUE(holds(page, "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)"));
}

TEST_F(ReportTest, UnknownValuesAreDashesAndGaps) {
  ReportData data = demo_report(200);
  data.test_loss = data.floor = data.active_experts = kUnknown;
  data.train_loss.value[150] = kUnknown;
  data.layers[0].routing.by_entity[0] = kUnknown;
  data.layers[0].routing.tokens[1] = kUnknown;
  data.layers[0].sparse = {};
  data.provenance = {};
  const std::string page = report_html(data);
  EXPECT_FALSE(holds_unfinite_number(page));
  EXPECT_TRUE(holds(page, "<dt>Test loss</dt><dd class=\"main\">\u2013</dd>"));
  EXPECT_TRUE(holds(page, "expert 0, entity 0: \u2013"));
  EXPECT_TRUE(holds(page, "<dt>Peak memory</dt><dd>\u2013</dd>"));
  EXPECT_EQ(tag_faults(page), "");
}

TEST_F(ReportTest, LongRunsStaySmall) {
  EXPECT_LT(report_html(demo_report(3000)).size(), 200'000u);
  EXPECT_LT(report_html(demo_report(100'000, 4)).size(), 600'000u);
}

TEST_F(ReportTest, SeveralLayersHaveSectionsOfTheirOwn) {
  const std::string page = report_html(demo_report(300, 3));
  for (const std::string_view title :
       {"Experts of layer 0", "Experts of layer 1", "Experts of layer 2", "<h2>Layers</h2>",
        "<h3>Active experts</h3>"}) {
    EXPECT_TRUE(holds(page, title)) << title;
  }
  EXPECT_EQ(tag_faults(page), "");
}

TEST(ReportLineage, FollowsTheEvents) {
  const std::vector<ReportEvent> events = {
      {.step = 5, .kind = "expand", .source = 1, .created = 2, .p_value = 0.001},
      {.step = 7, .kind = "keep", .source = 2, .gain = 0.5},
      {.step = 7, .kind = "expand", .source = 2, .created = 3},
      {.step = 9, .kind = "reject", .source = 3, .gain = -0.25},
      {.step = 9, .kind = "expand", .source = 0, .created = 4},
      {.step = 11, .kind = "stop", .source = 4, .gain = -0.1}};
  const std::vector<ReportExpert> lives = lineage_from_events(2, events, true);
  ASSERT_EQ(lives.size(), 5u);
  EXPECT_EQ(lives[1].parent, -1);
  EXPECT_EQ(lives[2].parent, 1);
  EXPECT_EQ(lives[2].born, 5);
  EXPECT_EQ(lives[2].p_value, 0.001);
  EXPECT_EQ(lives[2].gain, 0.5);
  EXPECT_EQ(lives[2].removed, -1);
  EXPECT_EQ(lives[3].parent, 2);
  EXPECT_EQ(lives[3].removed, 9);
  EXPECT_EQ(lives[4].removed, 11);
  EXPECT_EQ(lineage_from_events(2, events, false)[4].removed, -1);
}

std::string output_of(const std::string& command) {
  std::string out;
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return out;
  std::array<char, 4096> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) out += buffer.data();
  pclose(pipe);
  return out;
}

TEST_F(ReportTest, ABrowserRendersItWithoutComplaint) {
  if (output_of("command -v chromium").empty()) {
    GTEST_SKIP() << "no chromium here: apt-get install chromium to render the page in a test";
  }
  const std::string path = folder_ / "report.html";
  write_file(path, report_html(demo_report()));
  const std::string browser = "HOME=" + folder_.string() +
                              " timeout 50 chromium --headless --no-sandbox --disable-gpu " +
                              "--enable-logging=stderr --v=0 --window-size=1200,4000 ";
  const std::string picture = folder_ / "page.png";
  const std::string log = output_of(browser + "--screenshot=" + picture + " file://" + path);
  EXPECT_FALSE(holds(log, "CONSOLE")) << log;
  ASSERT_TRUE(std::filesystem::exists(picture)) << log;
  EXPECT_GT(std::filesystem::file_size(picture), 50'000u);
}

}  // namespace
}  // namespace offshoot
