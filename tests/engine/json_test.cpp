#include "engine/json.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>

#include "engine/error.h"
#include "engine/random.h"

namespace offshoot {
namespace {

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Json, WritesOneLineInTheOrderOfAddition) {
  Json json;
  json["zeta"] = 1;
  json["alpha"] = Json::array({true, nullptr, "a \"b\"\n\u00e9", 2.5, Json::object()});
  json["empty"] = Json::array();
  EXPECT_EQ(json.dump(),
            "{\"zeta\":1,\"alpha\":[true,null,\"a \\\"b\\\"\\n\u00e9\",2.5,{}],\"empty\":[]}");
}

TEST(Json, WritesIndented) {
  Json json = Json::object({{"a", Json::array({1, 2})}, {"b", Json::object({{"c", -1}})}});
  EXPECT_EQ(json.dump(2), "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {\n    \"c\": -1\n  }\n}");
}

TEST(Json, ReadsWhatItWrites) {
  std::string text =
      "{\"b\":[1,-2.5,true,false,null,\"x\\u0001\\\\\"],\"a\":{\"deep\":[[],[{}]]},\"\":1e+300}";
  EXPECT_EQ(Json::parse(text).dump(), text);
  EXPECT_EQ(Json::parse(Json::parse(text).dump(3)), Json::parse(text));
}

TEST(Json, DoublesKeepEveryBit) {
  Random random(1, 2);
  for (int i = 0; i < 1000; ++i) {
    double value = std::ldexp(random.normal(), static_cast<int>(random.below(200)) - 100);
    EXPECT_EQ(Json::parse(Json(value).dump()).get<double>(), value);
  }
  EXPECT_EQ(Json(0.1).dump(), "0.1");
  EXPECT_EQ(Json(3.0).dump(), "3.0");
  EXPECT_EQ(Json::parse("3.0").kind(), Json::Kind::real);
  EXPECT_TRUE(std::signbit(Json::parse(Json(-0.0).dump()).get<double>()));
}

TEST(Json, IntegersKeepEveryBit) {
  for (int64_t value : {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(),
                        (int64_t{1} << 53) + 1, int64_t{0}}) {
    EXPECT_EQ(Json::parse(Json(value).dump()).get<int64_t>(), value);
  }
  EXPECT_THROW(Json(std::numeric_limits<uint64_t>::max()), Error);
  EXPECT_EQ(error_of([] { Json::parse("[18446744073709551615]", "run.json"); }),
            "[run.json] 18446744073709551615: integer beyond 64 bits");
}

TEST(Json, RefusesNonFiniteNumbersUnlessAsked) {
  Json json = Json::object({{"loss", std::nan("")}, {"gain", HUGE_VAL}});
  EXPECT_THROW(json.dump(), Error);
  EXPECT_EQ(json.dump(-1, Json::NonFinite::as_null), "{\"loss\":null,\"gain\":null}");
  EXPECT_THROW(Json::parse("[NaN]"), Error);
  EXPECT_THROW(Json::parse("[1e999]"), Error);
}

TEST(Json, NamesLineAndColumnOfBadText) {
  std::string error = error_of([] { Json::parse("{\n  \"a\": 1,\n  b\n}", "run.json"); });
  EXPECT_TRUE(error.starts_with("[run.json] line 3, column 3: syntax error")) << error;
  EXPECT_EQ(error.find('\n'), error.npos) << error;
  for (const char* text : {"", "{", "[1,]", "[1] 2", "{\"a\" 1}", "\"\xff\"", "tru", "// c\n1"}) {
    EXPECT_THROW(Json::parse(text), Error) << text;
  }
  EXPECT_EQ(error_of([] { Json::parse("{\"a\":1,\"a\":2}", "x"); }), "[x] a: the key stands twice");
}

TEST(Json, RefusesDeepNesting) {
  std::string deep(200, '[');
  EXPECT_NO_THROW(Json::parse(deep + std::string(200, ']')));
  EXPECT_THROW(Json::parse("[" + deep + std::string(201, ']')), Error);
}

TEST(Json, RefusesStringsThatAreNotUtf8) { EXPECT_THROW(Json("\xc3(").dump(), Error); }

TEST(Json, GivesTypedValues) {
  Json json =
      Json::parse("{\"layers\":[{\"experts\":4,\"jsd\":0.25,\"on\":true}],\"out\":\"dir\"}");
  EXPECT_EQ(json.get<int64_t>("layers", 0, "experts"), 4);
  EXPECT_EQ(json.get<double>("layers", 0, "experts"), 4.0);
  EXPECT_EQ(json.get<double>("layers", 0, "jsd"), 0.25);
  EXPECT_TRUE(json.get<bool>("layers", 0, "on"));
  EXPECT_EQ(json.get<std::string>("out"), "dir");
  EXPECT_EQ(json.at("layers").size(), 1);
  EXPECT_TRUE(json.contains("out"));
  EXPECT_EQ(json.find("nowhere"), nullptr);
  EXPECT_EQ(json.find("layers")->find("experts"), nullptr);  // an array has no members
}

TEST(Json, ErrorsNameThePath) {
  Json json = Json::parse("{\"layers\":[{\"experts\":4.5}],\"out\":\"dir\"}");
  EXPECT_EQ(error_of([&] { json.get<int64_t>("layers", 0, "experts"); }),
            "[json] layers[0].experts: got 4.5, expected an integer");
  EXPECT_EQ(error_of([&] { json.get<double>("out"); }),
            "[json] out: got \"dir\", expected a number");
  EXPECT_EQ(error_of([&] { json.at("layers", 0, "jsd"); }),
            "[json] layers[0].jsd: missing from an object of 1");
  EXPECT_EQ(error_of([&] { json.at("layers", 1); }),
            "[json] layers[1]: missing from an array of 1");
  EXPECT_EQ(error_of([&] { json.get<bool>("layers"); }),
            "[json] layers: got an array of 1, expected true or false");
  EXPECT_THROW(json["out"]["x"] = 1, Error);
  EXPECT_THROW(json.push_back(1), Error);
  EXPECT_THROW(json.elements(), Error);
  EXPECT_THROW(Json(1).members(), Error);
}

TEST(Json, ComparesMembersInAnyOrder) {
  EXPECT_EQ(Json::parse("{\"a\":1,\"b\":[2]}"), Json::parse("{\"b\":[2],\"a\":1}"));
  EXPECT_FALSE(Json::parse("{\"a\":1}") == Json::parse("{\"a\":1.0}"));
  EXPECT_FALSE(Json::parse("{\"a\":1}") == Json::parse("{\"a\":1,\"b\":1}"));
  EXPECT_FALSE(Json::parse("[1,2]") == Json::parse("[2,1]"));
}

TEST(Json, TakesVectors) {
  EXPECT_EQ(Json(std::vector<int64_t>{1, 2}).dump(), "[1,2]");
  EXPECT_EQ(Json(std::vector<std::string>{"a"}).dump(), "[\"a\"]");
}

TEST(Json, ReadsFiles) {
  std::string path = testing::TempDir() + "offshoot_json_test_" + std::to_string(getpid());
  std::ofstream(path) << "{\"steps\": 5}";
  EXPECT_EQ(Json::read_file(path).get<int64_t>("steps"), 5);
  std::ofstream(path) << "{";
  EXPECT_TRUE(error_of([&] { Json::read_file(path); }).starts_with("[" + path + "] line 1"));
  std::remove(path.c_str());
  EXPECT_EQ(error_of([&] { Json::read_file(path); }),
            "[" + path + "] cannot be read as JSON: No such file or directory");
}

}  // namespace
}  // namespace offshoot
