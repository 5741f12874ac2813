// What offshoot-inspect says about checkpoints that other programs made, or somebody with ill will.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "engine/json.h"
#include "tests/tools/inspect_run.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/views.h"

namespace offshoot {
namespace {

using testing::kColour;
using testing::kPipe;
using testing::line_with;
using testing::lines_in;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class InspectOddTest : public testing::InspectTest {};

void write_layer(H5Writer& h5) {
  h5.write_text("configuration", "{}");
  h5.write("model/a.weight", {1}, std::vector<float>(1));
  h5.write("growth/moe/ids", {2}, std::vector<int64_t>{0, 1});
  h5.write("growth/moe/next_id", {}, std::vector<int64_t>{2});
  h5.write_table("lineage/moe", {{"id", std::vector<int64_t>{0, 1}},
                                 {"parent", std::vector<int64_t>{-1, 0}},
                                 {"born", std::vector<int64_t>{0, 5}},
                                 {"died", std::vector<int64_t>{-1, -1}},
                                 {"gain", std::vector<double>{kNaN, 0.5}}});
}

void write_log(H5Writer& h5, const std::string& but = "") {
  for (const std::string name : {"loss", "auxiliary_loss", "learning_rate", "active_experts"}) {
    if (name != but) h5.write("metrics/" + name, {2}, std::vector<double>{2, 1});
  }
  if (but != "experts") h5.write("metrics/experts/moe", {2}, std::vector<int64_t>{1, 2});
}

struct OtherMetrics {
  std::string fault;
  std::function<void(H5Writer&)> write;
};

// A part of its own called metrics is no log of ours, whatever it lacks; events that are no JSON
// are found later.
const std::vector<OtherMetrics> kOthers{
    {"metrics/loss is missing",
     [](H5Writer& h5) { h5.write("metrics/accuracy", {2}, std::vector<double>(2)); }},
    {"metrics/loss: got f32 [2], expected f64 [2]",
     [](H5Writer& h5) {
       write_log(h5, "loss");
       h5.write("metrics/loss", {2}, std::vector<float>(2));
     }},
    {"metrics/auxiliary_loss: got f64 [3], expected f64 [2]",
     [](H5Writer& h5) {
       write_log(h5, "auxiliary_loss");
       h5.write("metrics/auxiliary_loss", {3}, std::vector<double>(3));
     }},
    {"metrics/experts/moe: got f64 [2], expected i64 [2]",
     [](H5Writer& h5) {
       write_log(h5, "experts");
       h5.write("metrics/experts/moe", {2}, std::vector<double>(2));
     }},
    {"metrics/test_loss is missing",
     [](H5Writer& h5) {
       write_log(h5);
       h5.write("metrics/test_steps", {1}, std::vector<int64_t>(1));
     }},
    {"kind: missing from an object of 1",
     [](H5Writer& h5) {
       write_log(h5);
       h5.write_texts("metrics/events", {R"({"x": 1})"});
     }},
    {"line 1, column 2",
     [](H5Writer& h5) {
       write_log(h5);
       h5.write_texts("metrics/events", {R"({x)"});
     }},
};

TEST_F(InspectOddTest, MetricsOfAnotherProgramBreakNothing) {
  for (const auto& [fault, write] : kOthers) {
    save("o.h5", [&, &more = write](H5Writer& h5) {
      write_layer(h5);
      more(h5);
    });
    const std::string summary = show_summary(open("o.h5"), 1, kPipe);
    EXPECT_TRUE(contains(summary, "\nLosses\n  not readable: ")) << summary;
    EXPECT_TRUE(contains(line_with(summary, "not readable: "), fault)) << fault << summary;
    const std::string lineage = show_lineage(open("o.h5"), kPipe);
    EXPECT_TRUE(contains(line_with(lineage, "gains of probes could not be read: "), fault))
        << lineage;
    EXPECT_TRUE(contains(line_with(lineage, "└─1"), "+0.5000")) << lineage;
    const Outcome verified = verify_file(InputFile(path("o.h5")), kPipe);
    EXPECT_EQ(verified.status, 0) << verified.text;
    for (const std::string& error : {error_of([&] { show_metrics(open("o.h5"), kPipe); }),
                                     error_of([&] { metrics_csv(open("o.h5")); })}) {
      EXPECT_TRUE(contains(error, path("o.h5") + ": ") && contains(error, fault)) << error;
    }
  }
}

TEST_F(InspectOddTest, TheSummaryShowsWhatItCan) {
  save("o.h5", [](H5Writer& h5) {
    h5.write_text("configuration", "lr: 0.1");
    h5.write("model/a.weight", {1}, std::vector<float>(1));
    h5.write("growth/moe/ids", {1}, std::vector<int64_t>(1));
    h5.write_texts("provenance/host", {"a"});
  });
  const std::string text = show_summary(open("o.h5"), 1, kPipe);
  for (const char* part : {"\nConfiguration\n  not readable: ", "1 parameters in 1 tensors",
                           "\nExperts\n", "\n  host  a\n"}) {
    EXPECT_TRUE(contains(text, part)) << text << "should hold " << part;
  }
}

TEST_F(InspectOddTest, AReportThatDoesNotFitNamesTheFile) {
  save("o.h5", [](H5Writer& h5) {
    write_layer(h5);
    h5.write_text("report/data", R"({"method": 1})");
    h5.write_text("provenance/report", "{}");
  });
  for (const std::string& error : {error_of([&] { show_routing(open("o.h5"), kPipe); }),
                                   error_of([&] { export_report(open("o.h5"), path("r")); })}) {
    EXPECT_TRUE(contains(error, path("o.h5") + ": report/data: method: ")) << error;
  }
  const std::string lineage = show_lineage(open("o.h5"), kPipe);
  EXPECT_TRUE(contains(lineage, "\ntokens could not be read: report/data: method: ")) << lineage;
}

TEST_F(InspectOddTest, ManyModulesOfAnyNames) {
  save("flat.h5", [](H5Writer& h5) {
    for (int i = 0; i < 500; ++i) {
      h5.write(fmt::format("model/p{}", i), {2}, std::vector<float>(2));
    }
  });
  const std::string flat = show_summary(open("flat.h5"), 1, kPipe);
  EXPECT_TRUE(contains(flat, "1,000 parameters in 500 tensors")) << flat;
  EXPECT_TRUE(contains(flat, "\n  … and 476 more\n")) << flat;
  EXPECT_LT(lines_in(flat), 32);
  save("deep.h5", [](H5Writer& h5) {
    for (int i = 0; i < 12; ++i) {
      for (const char* part : {"query", "key", "value"}) {
        h5.write(fmt::format("model/encoder/layer_{}/attention/{}/kernel", i, part), {1},
                 std::vector<float>(1));
      }
    }
    h5.write("model/.weight", {1}, std::vector<float>(1));
    h5.write_text("model/note", "four");
  });
  const std::string deep = show_summary(open("deep.h5"), 1, kPipe);
  EXPECT_TRUE(contains(line_with(deep, "  encoder/layer_11/attention "), " 3 ")) << deep;
  EXPECT_TRUE(contains(deep, "\n  /  ")) << deep;
  // What is of a type that is not read takes the bytes that are stored.
  EXPECT_TRUE(line_with(deep, "  note ").ends_with(" 4 B")) << deep;
  EXPECT_TRUE(contains(deep, " tensors, 152 B")) << deep;
}

TEST_F(InspectOddTest, DiffOfWhatIsNotFiniteOrWasNothing) {
  const auto file = [&](const std::string& name, const std::vector<float>& a,
                        const std::vector<float>& b) {
    save(name, [&](H5Writer& h5) {
      h5.write("model/a", {3}, a);
      h5.write("model/b", {3}, b);
    });
  };
  file("a.h5", {1, 1, 1}, {0, 0, 0});
  file("b.h5", {static_cast<float>(kNaN), 1.5, 1}, {0, 2, 0});
  const std::string text = show_diff(open("a.h5"), open("b.h5"), kPipe).text;
  EXPECT_TRUE(line_with(text, "model/a ").ends_with("  not finite     not finite")) << text;
  EXPECT_TRUE(line_with(text, "model/b ").ends_with("           2            new")) << text;
  file("c.h5", {1, 1, 1}, {-0.0f, 0, 0});
  const std::string signs = show_diff(open("a.h5"), open("c.h5"), kPipe).text;
  EXPECT_TRUE(line_with(signs, "model/b ").ends_with(" 0")) << signs;
}

// Not ours to judge.
TEST_F(InspectOddTest, VerifyRefusesWhatIsNoCheckpoint) {
  save("new.h5", write_layer);
  std::string bytes = bytes_of(path("new.h5"));
  bytes[bytes.find("version 1") + 8] = '9';
  put_bytes(path("new.h5"), bytes);
  put_bytes(path("text.h5"), "no checkpoint");
  {
    AtomicFile file(path("other.h5"));
    H5Writer h5(file);
    h5.write("a", {1}, std::vector<float>(1));
    h5.close();
    file.commit();
  }
  for (const auto& [name, what] : std::vector<std::pair<std::string, std::string>>{
           {"new.h5", "a newer Offshoot wrote it"},
           {"text.h5", "is not a checkpoint"},
           {"other.h5", "is an HDF5 file of another kind"}}) {
    EXPECT_THROW(verify_file(InputFile(path(name)), kPipe), ForeignFile) << name;
    const std::string error = error_of([&] { verify_file(InputFile(path(name)), kPipe); });
    EXPECT_TRUE(contains(error, name + ": ") && contains(error, what)) << error;
  }
}

// Bytes of HDF5's own that belong to no dataset and that HDF5 does not look at: only the hash of
// the whole file knows.
TEST_F(InspectOddTest, VerifyHashesTheWholeFile) {
  save("c.h5", write_layer);
  const std::string good = bytes_of(path("c.h5"));
  ASSERT_EQ(verify_file(InputFile(path("c.h5")), kPipe).status, 0);
  bool unseen = false;
  for (size_t at = 512; at < good.size() && !unseen; at += 5) {
    if (good[at] != 0) continue;
    std::string bytes = good;
    bytes[at] = 1;
    put_bytes(path("c.h5"), bytes);
    const Outcome outcome = verify_file(InputFile(path("c.h5")), kPipe);
    ASSERT_EQ(outcome.status, 1) << at << outcome.text;
    ASSERT_TRUE(contains(outcome.text, "and kept the user block")) << outcome.text;
    // The verdict, this fault, and the datasets' count.
    unseen = lines_in(outcome.text) == 3 && contains(outcome.text, " have an XXH3 of their own");
  }
  EXPECT_TRUE(unseen);
}

TEST_F(InspectOddTest, LineageOfALongChain) {
  constexpr int64_t kExperts = 100000;
  std::vector<int64_t> id, parent;
  for (int64_t i = 0; i < kExperts; ++i) {
    id.push_back(i);
    parent.push_back(i - 1);
  }
  save("c.h5", [&](H5Writer& h5) {
    h5.write_table("lineage/moe", {{"id", id},
                                   {"parent", parent},
                                   {"born", id},
                                   {"died", std::vector<int64_t>(id.size(), -1)}});
  });
  const std::string text = show_lineage(open("c.h5"), kPipe);
  EXPECT_EQ(lines_in(text), kExperts + 2);
  EXPECT_LT(text.size(), 140u * kExperts);
  // The 40th generation and those behind it stand alike, their parent beside them.
  EXPECT_TRUE(line_with(text, "└─40 ").starts_with(std::string(80, ' ') + "└─40 "));
  const std::string last = line_with(text, "└─99999 ");
  EXPECT_TRUE(last.starts_with(std::string(80, ' ') + "└─99999 ")) << last;
  EXPECT_TRUE(contains(last, " 99998  99,999")) << last;
}

TEST_F(InspectOddTest, LineageNamesWhoDecidedAndWhatWasNoted) {
  const auto fill = [](const std::string& policy) {
    return [policy](H5Writer& h5) {
      h5.write("growth/moe/ids", {2}, std::vector<int64_t>{1, 2});
      h5.write("growth/moe/next_id", {}, std::vector<int64_t>{3});
      h5.write_texts("growth/moe/policies", {policy, "mass"});
      h5.write_table("growth/moe/log", {{"kind", std::vector<int64_t>{1, 1, 2}},
                                        {"source_id", std::vector<int64_t>{0, 0, 0}},
                                        {"new_id", std::vector<int64_t>{1, 2, -1}},
                                        {"step", std::vector<int64_t>{5, 6, 7}},
                                        {"policy", std::vector<int64_t>{1, 0, 1}}});
      h5.write_table("lineage/moe", {{"id", std::vector<int64_t>{0, 1, 2}},
                                     {"parent", std::vector<int64_t>{-1, 0, 0}},
                                     {"born", std::vector<int64_t>{0, 5, 6}},
                                     {"died", std::vector<int64_t>{7, -1, -1}},
                                     {"lo\tss", std::vector<double>{kNaN, 0.125, 2}}});
    };
  };
  save("c.h5", fill("by\thand"));
  EXPECT_EQ(show_lineage(open("c.h5"), kPipe),
            "moe  2 experts, 3 ever lived\n"
            "  expert   born  died  lo\\tss  policy\n"
            "  0       start     7          mass\n"
            "  ├─1         5         0.125  mass\n"
            "  └─2         6             2  by\\thand\n");
  save("m.h5", fill("mass"));
  EXPECT_FALSE(contains(show_lineage(open("m.h5"), kPipe), "policy"));
  save("odd.h5", [&](H5Writer& h5) {
    write_layer(h5);
    h5.write("growth/moe/log", {1}, std::vector<int64_t>(1));
  });
  EXPECT_TRUE(contains(show_lineage(open("odd.h5"), kPipe), "\npolicies could not be read: "));
}

TEST_F(InspectOddTest, MetricsOfIllWill) {
  save("c.h5", [](H5Writer& h5) {
    write_log(h5, "loss");
    h5.write("metrics/loss", {2}, std::vector<double>{1e308, -1e308});
    h5.write("metrics/experts/a\t,\"b", {2}, std::vector<int64_t>{3, 3});
    h5.write("metrics/test_steps", {2},
             std::vector<int64_t>{std::numeric_limits<int64_t>::min(), 2});
    h5.write("metrics/test_loss", {2}, std::vector<double>{5, 6});
  });
  const std::string csv = metrics_csv(open("c.h5"));
  EXPECT_TRUE(contains(csv, ",\"experts/a\\t,\"\"b\",")) << csv;
  EXPECT_TRUE(csv.ends_with(",6\n") && !contains(csv, ",5\n")) << csv;
  const std::string plots = show_metrics(open("c.h5"), kPipe);
  EXPECT_TRUE(contains(plots, "Loss  training \u22121e+308")) << plots;
  const std::string summary = show_summary(open("c.h5"), 1, kPipe);
  EXPECT_TRUE(contains(summary, "training  \u22121e+308  (step 2)")) << summary;
}

TEST_F(InspectOddTest, TheConfigurationIsJson) {
  save("c.h5", [](H5Writer& h5) {
    h5.write_text("configuration", "{\"a\": [1], \"b\": \"\u200e31m\u202e\"}");
  });
  EXPECT_EQ(show_configuration(open("c.h5"), kPipe),
            "{\n  \"a\": [\n    1\n  ],\n  \"b\": \"\u200e31m\u202e\"\n}\n");
  const std::string shown = show_configuration(open("c.h5"), kColour);
  EXPECT_TRUE(contains(shown, "\"\\u200e31m\\u202e\"\n")) << shown;
  save("none.h5", [](H5Writer& h5) { h5.write("model/a", {1}, std::vector<float>(1)); });
  EXPECT_TRUE(contains(error_of([&] { show_configuration(open("none.h5"), kPipe); }),
                       "none.h5: has no configuration"));
}

}  // namespace
}  // namespace offshoot
