#include "tools/support/options.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <new>
#include <stdexcept>

namespace offshoot {
namespace {

struct Values {
  int64_t steps = 2000;
  double p = 0.7;
  std::string method = "mass";
  bool renormalise = true;
  std::optional<int64_t> max_experts;
  std::optional<double> gap;
  std::optional<std::string> corpus;
  std::string out = "run";
  std::vector<std::string> parts;
};

struct Program {
  Program() : options("offshoot-test", "Tests options.") {
    options.add("--steps", &values.steps, "training steps").at_least(1);
    options.group("Routing");
    options.add("--p", &values.p, "mass of top-p").above(0).at_most(1);
    options.add("--method", &values.method, "how to route").choices({"mass", "topk", "topp"});
    options.add("--renormalise", &values.renormalise, "weights sum to 1");
    options.add("--max-experts", &values.max_experts, "ceiling").at_least(1);
    options.add("--gap", &values.gap, "gain wanted").at_least(0);
    options.add("--corpus", &values.corpus, "file");
    options.add("--out", &values.out, "folder").local();
    options.add("PARTS", &values.parts, "what to run").local();
  }

  bool parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "offshoot-test");
    return options.parse(static_cast<int>(arguments.size()), arguments.data());
  }
  std::string error(std::vector<const char*> arguments) {
    try {
      parse(std::move(arguments));
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }
  std::string inherit_error(std::string_view json) {
    try {
      options.inherit(Json::parse(json), "run.h5");
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }

  Values values;
  Options options;
};

class ConfigFile {
 public:
  explicit ConfigFile(std::string_view text) { std::ofstream(path) << text; }
  ~ConfigFile() { std::remove(path.c_str()); }
  // Tests run side by side, each in a process of its own.
  std::string path = testing::TempDir() + fmt::format("offshoot_options_test_{}.json", getpid());
};

TEST(Options, KeepsDefaults) {
  Program program;
  EXPECT_TRUE(program.parse({}));
  EXPECT_EQ(program.values.steps, 2000);
  EXPECT_FALSE(program.values.max_experts.has_value());
  EXPECT_FALSE(program.options.given("--steps"));
  EXPECT_EQ(program.options.source("--steps"), OptionSource::standard);
}

TEST(Options, TakesEveryKindFromTheCommandLine) {
  Program program;
  EXPECT_TRUE(program.parse({"growth", "--steps=7", "--p", "0.25", "--method", "topk",
                             "--no-renormalise", "--max-experts", "4", "--gap", "1e-3", "--corpus",
                             "a b.h5", "moe", "--steps", "8"}));
  EXPECT_EQ(program.values.steps, 8);  // the last counts
  EXPECT_EQ(program.values.p, 0.25);
  EXPECT_EQ(program.values.method, "topk");
  EXPECT_FALSE(program.values.renormalise);
  EXPECT_EQ(program.values.max_experts, 4);
  EXPECT_EQ(program.values.gap, 1e-3);
  EXPECT_EQ(program.values.corpus, "a b.h5");
  EXPECT_EQ(program.values.parts, (std::vector<std::string>{"growth", "moe"}));
  EXPECT_TRUE(program.options.given("--renormalise"));
  EXPECT_FALSE(program.options.given("--out"));
}

TEST(Options, ErrorsNameFlagValueAndLimits) {
  Program program;
  EXPECT_EQ(program.error({"--p", "1.5"}),
            "[offshoot-test] --p: got 1.5, expected a number in (0, 1]");
  EXPECT_EQ(program.error({"--p", "0"}), "[offshoot-test] --p: got 0, expected a number in (0, 1]");
  EXPECT_EQ(program.error({"--p", "nan"}),
            "[offshoot-test] --p: got nan, expected a number in (0, 1]");
  EXPECT_EQ(program.error({"--p", "half"}),
            "[offshoot-test] --p: got half, expected a number in (0, 1]");
  EXPECT_EQ(program.error({"--steps", "-3"}),
            "[offshoot-test] --steps: got -3, expected an integer of at least 1");
  EXPECT_EQ(program.error({"--steps", "1.5"}),
            "[offshoot-test] --steps: got 1.5, expected an integer of at least 1");
  EXPECT_EQ(program.error({"--steps", "99999999999999999999"}),
            "[offshoot-test] --steps: got 99999999999999999999, expected an integer of at least 1");
  EXPECT_EQ(program.error({"--method", "top"}),
            "[offshoot-test] --method: got top, expected mass, topk, topp");
  EXPECT_EQ(program.values.p, 0.7);
  EXPECT_EQ(program.values.method, "mass");
  EXPECT_EQ(program.values.steps, 2000);
}

TEST(Options, ErrorsOfTheCommandLineAreOneLine) {
  EXPECT_EQ(Program().error({"--step", "3"}),
            "[offshoot-test] --step: unknown flag; the nearest is --steps");
  EXPECT_EQ(Program().error({"--max_experts=3"}),
            "[offshoot-test] --max_experts: unknown flag; the nearest is --max-experts");
  EXPECT_EQ(Program().error({"--colour"}), "[offshoot-test] --colour: unknown flag; see --help");
  std::string missing = Program().error({"--steps"});
  EXPECT_TRUE(missing.starts_with("[offshoot-test] --steps")) << missing;
  EXPECT_EQ(missing.find('\n'), missing.npos);
}

TEST(Options, CommandLineOverridesTheConfigFile) {
  ConfigFile file("{\"steps\": 5, \"p\": 1, \"renormalise\": false, \"max-experts\": null}");
  Program program;
  EXPECT_TRUE(program.parse({"--config", file.path.c_str(), "--steps", "6"}));
  EXPECT_EQ(program.values.steps, 6);
  EXPECT_EQ(program.values.p, 1.0);
  EXPECT_FALSE(program.values.renormalise);
  EXPECT_EQ(program.options.source("--steps"), OptionSource::command_line);
  EXPECT_EQ(program.options.source("--p"), OptionSource::config_file);
  EXPECT_TRUE(program.options.given("--p"));
}

TEST(Options, ErrorsOfTheConfigFileNameFileAndKey) {
  auto error = [](std::string_view text) {
    ConfigFile file(text);
    std::string what = Program().error({"--config", file.path.c_str()});
    size_t end = what.find("] ");
    return end == what.npos ? what : what.substr(end + 2);
  };
  EXPECT_EQ(error("{\"setps\": 5}"), "setps: unknown key; the nearest is steps");
  EXPECT_EQ(error("{\"config\": \"x\"}"), "config: unknown key");
  EXPECT_EQ(error("{\"steps\": \"5\"}"), "steps: got 5, expected an integer of at least 1");
  EXPECT_EQ(error("{\"steps\": 5.0}"), "steps: got 5.0, expected an integer of at least 1");
  EXPECT_EQ(error("{\"p\": 2}"), "p: got 2, expected a number in (0, 1]");
  EXPECT_EQ(error("{\"renormalise\": 1}"), "renormalise: got 1, expected true or false");
  EXPECT_EQ(error("{\"method\": \"x\"}"), "method: got x, expected mass, topk, topp");
  EXPECT_EQ(error("{\"p\": null}"), "p: got null, expected a number in (0, 1]");
  EXPECT_EQ(error("[1]"), "expected a JSON object of options");
  EXPECT_THROW(Program().parse({"--config", "/nowhere.json"}), Error);
}

TEST(Options, InheritsWhatWasNotGiven) {
  Program first;
  first.parse({"--steps", "9", "--max-experts", "3", "--method", "topp", "--out", "elsewhere"});
  ConfigFile file("{\"method\": \"topk\"}");
  Program second;
  second.parse({"--config", file.path.c_str(), "--p", "0.5"});
  second.options.inherit(first.options.to_json(), "run.h5");
  EXPECT_EQ(second.values.steps, 9);
  EXPECT_EQ(second.values.max_experts, 3);
  EXPECT_EQ(second.values.p, 0.5);
  EXPECT_EQ(second.values.method, "topk");
  EXPECT_EQ(second.values.out, "run");
  EXPECT_EQ(second.options.source("--steps"), OptionSource::inherited);
  EXPECT_FALSE(second.options.given("--steps"));
  second.options.inherit(Json::parse("{\"out\": \"other\"}"), "run.h5");
  EXPECT_EQ(second.values.out, "run");  // local
  EXPECT_EQ(second.inherit_error("{\"stepz\": 1}"),
            "[run.h5] stepz: unknown key; the nearest is steps");
  EXPECT_EQ(second.inherit_error("{\"steps\": 0}"),
            "[run.h5] steps: got 0, expected an integer of at least 1");
}

TEST(Options, WritesValuesInTheOrderOfDeclaration) {
  Program program;
  program.parse({"--gap", "0.5"});
  EXPECT_EQ(program.options.to_json().dump(),
            "{\"steps\":2000,\"p\":0.7,\"method\":\"mass\",\"renormalise\":true,"
            "\"max-experts\":null,\"gap\":0.5,\"corpus\":null}");
  Json all = program.options.to_json(Options::Which::all);
  EXPECT_EQ(all.get<std::string>("out"), "run");
  EXPECT_EQ(all.at("PARTS").size(), 0);
}

TEST(Options, PrintsHelpByGroup) {
  Program program;
  testing::internal::CaptureStdout();
  EXPECT_FALSE(program.parse({"--help"}));
  std::string help = testing::internal::GetCapturedStdout();
  for (const char* part : {"Tests options.", "Routing:", "--steps", "training steps", "[2000]",
                           "mass|topk|topp", "--[no-]renormalise", "--config", "--help"}) {
    EXPECT_NE(help.find(part), help.npos) << part << " is missing from\n" << help;
  }
  EXPECT_EQ(help, Program().options.help());
  EXPECT_LT(help.find("--steps"), help.find("Routing:"));
  EXPECT_LT(help.find("Routing:"), help.find("--method"));
}

TEST(Options, TurnsErrorsIntoExitStatus) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_program([] { return 0; }), 0);
  EXPECT_EQ(run_program([]() -> int { Program().options.refuse("--p", "no"); }), 2);
  EXPECT_EQ(run_program([]() -> int { fail("save", "disk full"); }), 1);
  EXPECT_EQ(run_program([]() -> int { throw std::bad_alloc(); }), 1);
  EXPECT_EQ(run_program([]() -> int { throw std::length_error("vector"); }), 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "[offshoot-test] --p: no\n[save] disk full\n"
            "[memory] the machine has not enough for these sizes\n"
            "[memory] no machine has enough for these sizes\n");
}

// Whatever a file or an argument brings: nothing moves the cursor.
TEST(Options, ErrorsAreDisplayable) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_program([]() -> int { fail("save", "a\u202eb\x1b[31m"); }), 1);
  EXPECT_EQ(run_program([]() -> int { Program().options.refuse("--p", "\xc2\x9b"); }), 2);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "[save] a\\u202eb\\x1b[31m\n[offshoot-test] --p: \\u009b\n");
}

TEST(Options, PrintsVersionsWhereThereAreAny) {
  EXPECT_FALSE(Program().options.help().find("--version") != std::string::npos);
  EXPECT_THROW(Program().parse({"--version"}), UsageError);
  Program program;
  program.options.version("offshoot-test 1");
  EXPECT_NE(program.options.help().find("--version"), std::string::npos);
  testing::internal::CaptureStdout();
  EXPECT_FALSE(program.parse({"--version"}));
  EXPECT_FALSE(program.parse({"-h"}));
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "offshoot-test 1\n" + program.options.help());
}

TEST(Nearest, IsTheFewestEditsAway) {
  std::vector<std::string> words = {"steps", "stop-at", "seed"};
  EXPECT_EQ(nearest("stpes", words), "steps");
  EXPECT_EQ(nearest("stopat", words), "stop-at");
  EXPECT_EQ(nearest("sed", words), "seed");
  EXPECT_EQ(nearest("hidden", words), "");
}

}  // namespace
}  // namespace offshoot
