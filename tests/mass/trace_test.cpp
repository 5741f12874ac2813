#include "mass/trace.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(Trace, AnExpansionReadsBack) {
  const GrowthEvent event{
      GrowthEvent::Kind::expand, 187, "blocks.0.moe", 2, 5, 0.0031, -0.00042, kNaN, 6};
  const Json json = to_json(event);
  EXPECT_EQ(json.dump(),
            "{\"step\":187,\"layer\":\"blocks.0.moe\",\"kind\":\"expand\",\"source\":2,"
            "\"created\":5,\"p_value\":0.0031,\"cosine\":-0.00042,\"gain\":null,\"experts\":6}");
  const GrowthEvent back = growth_event_from_json(Json::parse(json.dump()));
  EXPECT_EQ(back.kind, event.kind);
  EXPECT_EQ(back.step, 187);
  EXPECT_EQ(back.layer, "blocks.0.moe");
  EXPECT_EQ(back.source, 2);
  EXPECT_EQ(back.created, 5);
  EXPECT_EQ(back.p_value, 0.0031);
  EXPECT_EQ(back.cosine, -0.00042);
  EXPECT_TRUE(std::isnan(back.gain));
  EXPECT_EQ(back.experts, 6);
}

TEST(Trace, EveryKindReadsBack) {
  for (const auto kind : {GrowthEvent::Kind::expand, GrowthEvent::Kind::keep,
                          GrowthEvent::Kind::reject, GrowthEvent::Kind::stop}) {
    const GrowthEvent event{kind, 1, "moe", -1, -1, kNaN, kNaN, -0.25, 3};
    const GrowthEvent back = growth_event_from_json(to_json(event));
    EXPECT_EQ(back.kind, kind);
    EXPECT_EQ(back.source, -1);
    EXPECT_EQ(back.created, -1);
    EXPECT_EQ(back.gain, -0.25);
    EXPECT_TRUE(to_json(event).at("source").is_null());
  }
}

TEST(Trace, MalformedEventsAreErrors) {
  const GrowthEvent event{GrowthEvent::Kind::keep, 1, "moe", 0, -1, 0.5, 0.5, 0.5, 3};
  const Json good = to_json(event);
  for (const Json::Member& member : good.members()) {
    Json lacking = Json::object();
    for (const Json::Member& other : good.members()) {
      if (other.key != member.key) lacking[other.key] = other.value;
    }
    EXPECT_THROW((void)growth_event_from_json(lacking), Error) << member.key;
  }
  Json foreign = good;
  foreign["kind"] = "shrink";
  EXPECT_THROW((void)growth_event_from_json(foreign), Error);
  foreign = good;
  foreign["step"] = "one";
  EXPECT_THROW((void)growth_event_from_json(foreign), Error);
}

}  // namespace
}  // namespace offshoot
