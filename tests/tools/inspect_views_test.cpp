// What the views of offshoot-inspect say about a run's checkpoint, and about odd ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/json.h"
#include "tests/engine/file_test.h"
#include "tests/tools/inspect_run.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/views.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

using testing::InspectTest;
using testing::kColour;
using testing::kPipe;
using testing::line_with;
using testing::lines_in;
using testing::quick_config;
using testing::QuickRun;

TEST_F(InspectTest, SummaryAtAGlance) {
  save_run_to();
  const std::string text = show_summary(open(), 1536, kPipe);
  int64_t count = 0;
  for (const Parameter* parameter : parameters(run_->trainer.model())) {
    count += parameter->value().size();
  }
  const std::string head = text.substr(0, text.find('\n'));
  EXPECT_TRUE(contains(head, path("run.h5"))) << head;
  EXPECT_TRUE(contains(head, "1.5 KiB  not verified, see verify")) << head;
  EXPECT_TRUE(contains(text, "step 40   seed 0   format version 1"));
  EXPECT_TRUE(contains(text, "method mass"));
  EXPECT_TRUE(contains(text, count_text(static_cast<double>(count)) + " parameters in ")) << text;
  EXPECT_TRUE(contains(line_with(text, "  blocks.1.moe.fc1"), "2 ")) << text;
  const std::string experts = fmt::format("{}", run_->trainer.model().moe_layers()[1]->experts());
  const size_t table = text.find("ever lived");
  ASSERT_NE(table, std::string::npos) << text;
  const std::string line = line_with(text.substr(table), "blocks.1.moe");
  EXPECT_TRUE(contains(line, " " + experts + " ")) << line;
  EXPECT_TRUE(contains(text, "training  " + number_text(run_->log.loss().back(), 4)));
  EXPECT_TRUE(contains(text, "test      3.5000  (step 40)"));
  EXPECT_TRUE(contains(line_with(text, "  command"), "offshoot-hmm --quick"));
  EXPECT_FALSE(contains(text, "peak_memory_bytes"));  // the report's own provenance
}

// Another program's model: names of any kind, and nothing else that we know.
TEST_F(InspectTest, SummaryOfAnotherModel) {
  save("other.h5", [](H5Writer& h5) {
    for (int i = 0; i < 40; ++i) {
      h5.write(fmt::format("model/encoder.layer.{}.attention.weight", i), {2, 3},
               std::vector<float>(6));
      h5.write(fmt::format("model/encoder.layer.{}.output.bias", i), {2}, std::vector<double>(2));
    }
    h5.write("model/\x1b[31mred\n.weight", {1}, std::vector<float>(1));
    h5.write("model/scale", {}, std::vector<float>(1));
    h5.write_text("configuration", R"({"width": 5, "na\u001bme": "a\u0007b", "list": [1]})");
  });
  const std::string text = show_summary(open("other.h5"), 1, kPipe);
  EXPECT_TRUE(contains(text, "322 parameters in 82 tensors")) << text;
  EXPECT_TRUE(contains(text, "width 5   na\\x1bme a\\x07b")) << text;
  const std::string line = line_with(text, "  encoder.layer");
  EXPECT_TRUE(contains(line, "80") && contains(line, "320")) << line;
  EXPECT_TRUE(contains(text, "  \\x1b[31mred\\n ")) << text;
  EXPECT_TRUE(contains(text, "  scale "));
  EXPECT_FALSE(contains(text, "Experts"));
  EXPECT_LT(lines_in(text), 20);
  for (const std::string& all : {text, show_tree(open("other.h5"), kPipe)}) {
    EXPECT_TRUE(std::ranges::none_of(all, [](char c) { return c == '\x1b' || c == '\x07'; }));
  }
}

TEST_F(InspectTest, TreeShowsWhatValuesAreLike) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  save("c.h5", [&](H5Writer& h5) {
    h5.write("model/a", {2, 3}, std::vector<float>{3, 0, 0, 0, 0, -4});
    h5.write("model/b", {4}, std::vector<float>{nan, 1, nan, infinity});
    h5.write("data/position", {}, std::vector<int64_t>{123456789});
    h5.write_text("configuration", "{}");
    h5.write_table("lineage/x", {{"id", std::vector<int64_t>{1}}});
  });
  const std::string text = show_tree(open("c.h5"), kPipe);
  const std::string a = line_with(text, "  a ");
  for (const char* part : {"[2, 3]", "f32", "24 B", " 5 ", " -4 ", " 3 ", "▂    █   ▂"}) {
    EXPECT_TRUE(contains(a, part)) << a << " should hold " << part;
  }
  EXPECT_TRUE(contains(line_with(text, "  b "), "2 NaN, 1 inf")) << text;
  EXPECT_TRUE(contains(line_with(text, "  position "), "123456789")) << text;
  EXPECT_TRUE(contains(line_with(text, "configuration"), "\"{}\"")) << text;
  EXPECT_TRUE(contains(text, "5 datasets, "));
  // On a narrow terminal in two lines, none too long.
  std::string narrow = show_tree(open("c.h5"), Terminal(true, false, 60));
  EXPECT_TRUE(contains(narrow, "norm 5  -4 .. 3")) << narrow;
  for (const Terminal& terminal : {Terminal(true, false, 60), Terminal(true, false, 160)}) {
    std::string rest = show_tree(open("c.h5"), terminal);
    for (size_t end; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
      EXPECT_LE(end, static_cast<size_t>(3 * terminal.width()));
    }
  }
}

TEST_F(InspectTest, TreeNamesOneDamagedDatasetAndShowsTheOthers) {
  save_run_to();
  damage("run.h5", "model/embedding.weight");
  const std::string text = show_tree(open(), kPipe);
  const size_t model = text.find("model/");
  EXPECT_TRUE(contains(line_with(text.substr(model), "  embedding.weight"), "damaged")) << text;
  EXPECT_TRUE(line_with(text, ", expected ").starts_with("      got xxh3 ")) << text;
  const std::string narrow = show_tree(open(), Terminal(true, false, 60));
  EXPECT_TRUE(contains(narrow, "      damaged  got xxh3 ")) << narrow;
  EXPECT_EQ(text.find("damaged"), text.rfind("damaged"));
}

TEST_F(InspectTest, LineageIsATree) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  save("c.h5", [&](H5Writer& h5) {
    h5.write("growth/moe/ids", {3}, std::vector<int64_t>{0, 1, 4});
    h5.write_table("lineage/moe", {{"id", std::vector<int64_t>{0, 1, 2, 3, 4}},
                                   {"parent", std::vector<int64_t>{-1, -1, 0, 2, 0}},
                                   {"born", std::vector<int64_t>{0, 0, 50, 60, 70}},
                                   {"died", std::vector<int64_t>{-1, -1, 90, 95, -1}},
                                   {"p_value", std::vector<double>{nan, nan, 0.25, 1e-5, 0.01}},
                                   {"cosine", std::vector<double>{nan, nan, -0.5, 0.125, 0}},
                                   {"gain", std::vector<double>{nan, nan, nan, nan, 0.75}}});
  });
  EXPECT_EQ(show_lineage(open("c.h5"), kPipe),
            "moe  3 experts, 5 ever lived\n"
            "  expert   born  died   p-value   cosine     gain\n"
            "  0       start\n"
            "  ├─2        50    90     0.250  −0.5000\n"
            "  │ └─3      60    95  1.0·10⁻⁵  +0.1250\n"
            "  └─4        70          0.0100   0.0000  +0.7500\n"
            "  1       start\n\n"
            "p-value: chance that the parent's gradient norms rose so without drift, at the birth\n"
            "cosine: of the parent's weights and their gradient then; near 0 is drift\n"
            "gain: the probe's task loss without the expert minus the loss with it, nats\n");
}

TEST_F(InspectTest, LineageBearsParentsThatCannotBe) {
  save("c.h5", [&](H5Writer& h5) {
    h5.write("growth/moe/ids", {3}, std::vector<int64_t>{0, 1, 2});
    h5.write_table("lineage/moe", {{"id", std::vector<int64_t>{0, 1, 2}},
                                   {"parent", std::vector<int64_t>{2, 1, 77}},
                                   {"born", std::vector<int64_t>{0, 0, 0}},
                                   {"died", std::vector<int64_t>{-1, -1, -1}}});
  });
  EXPECT_EQ(lines_in(show_lineage(open("c.h5"), kPipe)), 5);
  save("d.h5", [&](H5Writer& h5) {
    h5.write_table("lineage/moe", {{"id", std::vector<int64_t>{0}}});
  });
  EXPECT_TRUE(contains(error_of([&] { show_lineage(open("d.h5"), kPipe); }),
                       "lineage/moe: the column parent is missing"));
}

TEST_F(InspectTest, LineageOfARunSaysWhatExpertsServe) {
  const ReportData report = save_run_to();
  const std::string text = show_lineage(open(), kPipe);
  const ReportLayer& layer = report.layers[1];
  const std::string second = text.substr(text.find("blocks.1.moe"));
  EXPECT_TRUE(contains(
      second, fmt::format("{} experts, {} ever lived", layer.experts, layer.lineage.size())));
  for (const ReportExpert& expert : layer.lineage) {
    if (expert.parent < 0) continue;
    const std::string line = line_with(second, fmt::format("─{} ", expert.id));
    EXPECT_TRUE(contains(line, fmt::format(" {} ", expert.born))) << line;
    EXPECT_TRUE(contains(line, probability_text(expert.p_value))) << line;
    // The gain of its own probe, not what its parent's row was told.
    if (std::isfinite(expert.gain)) {
      EXPECT_TRUE(contains(line, signed_text(expert.gain, 4))) << line;
    }
  }
  for (size_t i = 0; i < layer.routing.expert_ids.size(); ++i) {
    EXPECT_TRUE(contains(second, share_text(layer.routing.tokens[i] / layer.routing.total_tokens)));
  }
}

TEST_F(InspectTest, RoutingIsPlainInAPipeAndColouredOnATerminal) {
  const ReportData report = save_run_to();
  const std::string plain = show_routing(open(), kPipe);
  EXPECT_FALSE(contains(plain, "\x1b"));
  const ReportRouting& routing = report.layers[0].routing;
  for (size_t r = 0; r < routing.expert_ids.size(); ++r) {
    std::string expected = fmt::format("  {:<10}", fmt::format("expert {}", routing.expert_ids[r]));
    const auto labels = static_cast<size_t>(routing.entities);
    for (size_t c = 0; c < labels; ++c) {
      expected += fmt::format("{:>4} ", number_text(100 * routing.by_entity[r * labels + c], 0));
    }
    EXPECT_TRUE(contains(plain, expected + '\n')) << expected << plain;
  }
  // Twice for each expert of each layer.
  EXPECT_GE(lines_in(plain),
            2 * (std::ssize(routing.expert_ids) + std::ssize(report.layers[1].routing.expert_ids)));
  const std::string coloured = show_routing(open(), kColour);
  EXPECT_TRUE(contains(coloured, "\x1b[48;5;"));
  // Narrow: the labels that do not fit stand below.
  const std::string narrow = show_routing(open(), Terminal(true, false, 40));
  EXPECT_GT(lines_in(narrow), lines_in(plain));
  EXPECT_TRUE(contains(plain, "property 0 is the delimiter\n")) << plain;
}

TEST_F(InspectTest, MetricsAreThoseOfTheLog) {
  save_run_to();
  EXPECT_EQ(metrics_json(open()), run_->log.json_lines());
  const std::string csv = metrics_csv(open());
  EXPECT_TRUE(
      csv.starts_with("step,loss,auxiliary_loss,learning_rate,active_experts,"
                      "experts/blocks.0.moe,experts/blocks.1.moe,test_loss\n0,"))
      << csv;
  EXPECT_EQ(lines_in(csv), 41);
  const std::string last = csv.substr(csv.rfind('\n', csv.size() - 2) + 1);
  EXPECT_TRUE(last.starts_with(fmt::format("39,{},", run_->log.loss().back()))) << last;
  EXPECT_TRUE(last.ends_with(
      fmt::format(",{},{},3.5\n", run_->log.experts(0).back(), run_->log.experts(1).back())))
      << last;
  const std::string plots = show_metrics(open(), kPipe);
  for (const char* part : {"Loss  training", "test ○ 3.5000", "Experts K", "Active experts"}) {
    EXPECT_TRUE(contains(plots, part)) << plots;
  }
  save("none.h5", [](H5Writer& h5) { h5.write("model/a", {1}, std::vector<float>(1)); });
  EXPECT_TRUE(contains(error_of([&] { metrics_json(open("none.h5")); }),
                       "none.h5: has no metrics as offshoot-hmm keeps them (metrics/loss, "));
}

TEST_F(InspectTest, DiffOfEqualsIsEmpty) {
  save_run_to("a.h5");
  save_run_to("b.h5");
  const Outcome outcome = show_diff(open("a.h5"), open("b.h5"), kPipe);
  EXPECT_EQ(outcome.status, 0);
  EXPECT_TRUE(contains(outcome.text, "equal: ")) << outcome.text;
}

TEST_F(InspectTest, DiffSaysWhatAndHowMuch) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto fill = [&](bool second) {
    return [&, second](H5Writer& h5) {
      // Larger than a piece, the change at its end.
      std::vector<float> large(3 << 20, 1);
      if (second) large.back() = 1.5;
      h5.write("model/large", {3, 1 << 20}, large);
      h5.write("model/same", {2}, std::vector<float>{1, nan});
      h5.write("model/nan", {2}, std::vector<float>{1, second ? nan : 1});
      h5.write("model/shape", {second ? 2 : 3}, std::vector<float>(second ? 2 : 3));
      h5.write_text("configuration", second ? "{}" : "[]");
      h5.write_text("provenance/time", second ? "now" : "then");
      h5.write(second ? "new" : "old", {1}, std::vector<int64_t>{1});
    };
  };
  save("a.h5", fill(false));
  save("b.h5", fill(true));
  const Outcome outcome = show_diff(open("a.h5"), open("b.h5"), kPipe);
  EXPECT_EQ(outcome.status, 1);
  const std::string large = line_with(outcome.text, "model/large");
  EXPECT_TRUE(contains(large, " 1 ") && contains(large, "0.5") && contains(large, "0.000282"))
      << large;
  EXPECT_TRUE(contains(line_with(outcome.text, "model/nan"), "not finite")) << outcome.text;
  EXPECT_TRUE(contains(line_with(outcome.text, "model/shape"), "f32 [3] → f32 [2]"));
  EXPECT_TRUE(contains(line_with(outcome.text, "configuration"), "changed"));
  EXPECT_TRUE(contains(line_with(outcome.text, "old"), "only in A"));
  EXPECT_TRUE(contains(line_with(outcome.text, "new"), "only in B"));
  for (const char* other : {"model/same", "provenance", "damaged"}) {
    EXPECT_FALSE(contains(outcome.text, other)) << outcome.text;
  }
  CheckpointWriter later(path("c.h5"), {8, 3});
  fill(false)(later.h5());
  later.commit();
  EXPECT_TRUE(contains(show_diff(open("a.h5"), open("c.h5"), kPipe).text, "7 → 8"));
}

TEST_F(InspectTest, VerifyFindsEveryKindOfDamage) {
  save_run_to();
  const auto verify = [&](const std::string& name) {
    return verify_file(InputFile(path(name)), kPipe);
  };
  const Outcome good = verify("run.h5");
  EXPECT_EQ(good.status, 0) << good.text;
  EXPECT_TRUE(contains(good.text, ": good\n")) << good.text;
  EXPECT_TRUE(contains(good.text, " with the XXH3 that the user block tells\n")) << good.text;
  const std::string whole = bytes_of(path("run.h5"));

  damage("run.h5", "model/embedding.weight");
  const Outcome flipped = verify("run.h5");
  EXPECT_EQ(flipped.status, 1);
  EXPECT_TRUE(contains(flipped.text, "run.h5: damaged\n")) << flipped.text;
  EXPECT_TRUE(contains(flipped.text, "model/embedding.weight: is damaged: got xxh3"))
      << flipped.text;
  EXPECT_FALSE(contains(flipped.text, "model/head.weight")) << flipped.text;

  put_bytes(path("cut.h5"), whole.substr(0, whole.size() - 100));
  const Outcome cut = verify("cut.h5");
  EXPECT_EQ(cut.status, 1);
  EXPECT_TRUE(contains(cut.text, "is truncated")) << cut.text;
  EXPECT_EQ(cut.text.find("is truncated"), cut.text.rfind("is truncated")) << cut.text;

  // Of another tool: only the datasets' hashes are left.
  put_bytes(path("foreign.h5"), whole.substr(512));
  const Outcome foreign = verify("foreign.h5");
  EXPECT_EQ(foreign.status, 0) << foreign.text;
  EXPECT_TRUE(contains(foreign.text, "no user block")) << foreign.text;

  save("partial.h5", [](H5Writer& h5) {
    h5.write("model/a", {1}, std::vector<float>(1));
    h5.write("growth/moe/ids", {1}, std::vector<int64_t>(1));
  });
  const Outcome partial = verify("partial.h5");
  EXPECT_EQ(partial.status, 1);
  for (const char* missing : {"configuration", "growth/moe/next_id", "lineage/moe"}) {
    EXPECT_TRUE(contains(partial.text, std::string(missing) + ": is missing")) << partial.text;
  }
}

// Structure flipped at random places: an answer, and never a crash or a hang of this process.
TEST_F(InspectTest, VerifyBearsAnyDamage) {
  save_run_to();
  const std::string whole = bytes_of(path("run.h5"));
  Random random(11, 4);
  for (int i = 0; i < 12; ++i) {
    std::string bytes = whole;
    for (int flips = 0; flips < 40; ++flips) {
      bytes[512 + static_cast<size_t>(random.below(i < 6 ? 4096 : std::ssize(bytes) - 512))] ^= 4;
    }
    put_bytes(path("f.h5"), bytes);
    const Outcome outcome = verify_file(InputFile(path("f.h5")), kPipe);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_TRUE(contains(outcome.text, "damaged")) << outcome.text;
  }
}

TEST_F(InspectTest, SafetensorsHoldTheParameters) {
  save_run_to();
  EXPECT_TRUE(contains(export_safetensors(open(), path("m.safetensors")), "parameters, "));
  const std::string bytes = bytes_of(path("m.safetensors"));
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(bytes[i]);
  EXPECT_EQ(length % 8, 0u);
  const Json header = Json::parse(bytes.substr(8, length));
  EXPECT_EQ(header.get<std::string>("__metadata__", "step"), "40");
  EXPECT_EQ(header.get<std::string>("__metadata__", "format"), "offshoot-checkpoint");
  int64_t end = 0;
  for (const Parameter* parameter : parameters(run_->trainer.model())) {
    const Json& entry = header.at(parameter->name());
    EXPECT_EQ(entry.get<std::string>("dtype"), "F32");
    const Tensor& value = parameter->value();
    ASSERT_EQ(entry.at("shape").size(), value.rank());
    for (int i = 0; i < value.rank(); ++i) EXPECT_EQ(entry.get<int64_t>("shape", i), value.dim(i));
    const auto begin = entry.get<int64_t>("data_offsets", 0);
    ASSERT_EQ(entry.get<int64_t>("data_offsets", 1), begin + value.bytes());
    const size_t at = 8 + length + static_cast<size_t>(begin);
    EXPECT_EQ(std::memcmp(&bytes[at], value.raw(), static_cast<size_t>(value.bytes())), 0);
    end = std::max(end, begin + value.bytes());
  }
  EXPECT_EQ(bytes.size(), 8 + length + static_cast<size_t>(end));
  EXPECT_EQ(header.size(), 1 + std::ssize(parameters(run_->trainer.model())));
}

TEST_F(InspectTest, SafetensorsOfEveryTypeAreAligned) {
  save("c.h5", [](H5Writer& h5) {
    h5.write("model/a", {3}, std::vector<uint8_t>{1, 2, 3});
    h5.write("model/b", {1}, std::vector<float>{5});
    h5.write("model/c", {}, std::vector<double>{7});
    h5.write("model/d", {1}, std::vector<int64_t>{9});
  });
  export_safetensors(open("c.h5"), path("m.safetensors"));
  const std::string bytes = bytes_of(path("m.safetensors"));
  const auto length =
      static_cast<size_t>(static_cast<uint8_t>(bytes[0]) | static_cast<uint8_t>(bytes[1]) << 8);
  const Json header = Json::parse(bytes.substr(8, length));
  for (const char* wide : {"c", "d"}) {
    EXPECT_EQ(header.get<int64_t>(wide, "data_offsets", 0) % 8, 0);
  }
  EXPECT_EQ(header.get<int64_t>("b", "data_offsets", 0) % 4, 0);
  EXPECT_EQ(bytes.size(), 8 + length + 23);
  save("text.h5", [](H5Writer& h5) { h5.write_text("model/a", "x"); });
  EXPECT_TRUE(contains(error_of([&] { export_safetensors(open("text.h5"), path("t")); }),
                       "a: got text, expected numbers"));
  save("none.h5", [](H5Writer& h5) { h5.write_text("configuration", "{}"); });
  EXPECT_TRUE(contains(error_of([&] { export_safetensors(open("none.h5"), path("t")); }),
                       "has no parameters"));
  EXPECT_FALSE(std::filesystem::exists(path("t")));
}

// A damaged dataset is not passed on as if it were good.
TEST_F(InspectTest, SafetensorsOfADamagedFileIsNone) {
  save_run_to();
  damage("run.h5", "model/embedding.weight");
  EXPECT_TRUE(contains(error_of([&] { export_safetensors(open(), path("m")); }), "is damaged"));
  EXPECT_EQ(files(), 1);
}

TEST_F(InspectTest, TheReportIsThatOfTraining) {
  const ReportData report = save_run_to();
  export_report(open(), path("page.html"));
  EXPECT_EQ(bytes_of(path("page.html")), report_html(report));
  QuickRun begun(quick_config());
  begun.train(5);
  save_run(path("begun.h5"), begun.state(), Json::object(), {});
  const std::string error = error_of([&] { export_report(open("begun.h5"), path("none.html")); });
  EXPECT_TRUE(contains(error, "begun.h5: report/data is missing")) << error;
  EXPECT_TRUE(contains(error, "comes to its end")) << error;
  EXPECT_FALSE(std::filesystem::exists(path("none.html")));
}

}  // namespace
}  // namespace offshoot
