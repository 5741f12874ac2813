// The report's data come back from JSON as they were, so that the page does.
#include "tools/hmm/report_json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/error.h"
#include "tests/tools/report_demo.h"

namespace offshoot {
namespace {

using testing::demo_report;

// Through text, as in a file.
ReportData there_and_back(const ReportData& data) {
  const Json json = Json::parse(report_json(data).dump());
  const Json provenance = Json::parse(report_provenance_json(data.provenance).dump());
  return report_from_json(json, provenance);
}

std::string error_of(const Json& json) {
  try {
    report_from_json(json, report_provenance_json({}));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ReportJsonTest, ThePageStaysTheSame) {
  for (const int64_t layers : {0, 1, 3}) {
    const ReportData data = demo_report(300, layers);
    const ReportData back = there_and_back(data);
    EXPECT_EQ(report_html(back), report_html(data));
    EXPECT_EQ(report_json(back), report_json(data));
    EXPECT_EQ(report_provenance_json(back.provenance), report_provenance_json(data.provenance));
  }
}

// What the page does not show, or rounds.
TEST(ReportJsonTest, EveryFieldComesBack) {
  const ReportData data = demo_report(50, 2);
  const ReportData back = there_and_back(data);
  EXPECT_EQ(back.train_loss.value, data.train_loss.value);
  EXPECT_EQ(back.train_loss.step, data.train_loss.step);
  EXPECT_EQ(back.test_loss_curve.step, data.test_loss_curve.step);
  EXPECT_EQ(back.floor_last, data.floor_last);
  EXPECT_EQ(back.configuration, data.configuration);
  EXPECT_EQ(back.provenance.peak_memory_bytes, data.provenance.peak_memory_bytes);
  ASSERT_EQ(back.layers.size(), 2u);
  const ReportLayer &layer = data.layers[1], &other = back.layers[1];
  EXPECT_EQ(other.index, layer.index);
  EXPECT_EQ(other.routing.by_entity, layer.routing.by_entity);
  EXPECT_EQ(other.routing.by_property, layer.routing.by_property);
  EXPECT_EQ(other.weighted.property, layer.weighted.property);
  EXPECT_EQ(other.probabilities.entity, layer.probabilities.entity);
  ASSERT_EQ(other.lineage.size(), layer.lineage.size());
  EXPECT_EQ(other.lineage.back().parent, layer.lineage.back().parent);
  EXPECT_EQ(other.lineage.back().cosine, layer.lineage.back().cosine);
  ASSERT_EQ(other.events.size(), layer.events.size());
  EXPECT_EQ(other.events.back().kind, layer.events.back().kind);
}

TEST(ReportJsonTest, TheUnknownStaysUnknown) {
  ReportData data;
  data.train_loss = {{0, 1, 3}, {1.5, kUnknown, 2}};
  data.layers.resize(1);
  const ReportData back = there_and_back(data);
  EXPECT_TRUE(std::isnan(back.test_loss));
  EXPECT_TRUE(std::isnan(back.floor_last[2]));
  EXPECT_TRUE(std::isnan(back.layers[0].routing.total_tokens));
  EXPECT_TRUE(std::isnan(back.train_loss.value[1]));
  EXPECT_EQ(back.train_loss.step, (std::vector<double>{0, 1, 3}));
  EXPECT_EQ(report_html(back), report_html(data));
}

TEST(ReportJsonTest, RefusesWhatIsMissingOrDoesNotFit) {
  const Json whole = report_json(demo_report(20));
  EXPECT_EQ(error_of(whole), "");
  for (const auto& [key, value] : whole.members()) {
    Json without = Json::object();
    for (const auto& [other, content] : whole.members()) {
      if (other != key) without[other] = content;
    }
    EXPECT_NE(error_of(without), "") << key;
  }
  Json layers = whole;
  Json layer = whole.at("layers", 0);
  layer["routing"]["entities"] = 11;
  layers["layers"] = Json::array({layer});
  EXPECT_NE(error_of(layers).find("by_entity: got "), std::string::npos) << error_of(layers);
  // More steps than values would be read beyond their end.
  for (const char* key : {"train_loss", "active_curve", "test_loss_curve"}) {
    Json curves = whole;
    curves[key]["step"] = Json::array({1.0, 2.0, 3.0});
    curves[key]["value"] = Json::array({1.0});
    EXPECT_NE(error_of(curves).find(std::string(key) + ": got 3 steps, expected 1"),
              std::string::npos)
        << error_of(curves);
  }
  Json curve = whole.at("layers", 0);
  curve["experts_curve"]["step"] = Json::array({1.0, 2.0});
  curve["experts_curve"]["value"] = Json::array();
  layers["layers"] = Json::array({curve});
  EXPECT_NE(error_of(layers).find("experts_curve: got 2 steps"), std::string::npos);
  Json floors = whole;
  floors["floor_last"] = Json::array({1.0});
  EXPECT_NE(error_of(floors).find("floor_last: got 1 numbers, expected 3"), std::string::npos);
}

}  // namespace
}  // namespace offshoot
