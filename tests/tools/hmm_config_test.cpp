// The flags of offshoot-hmm and what they come to.
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "engine/error.h"
#include "tools/hmm/config.h"

namespace offshoot {
namespace {

struct Parsed {
  HmmConfig config;
  HmmOptions options{config};

  explicit Parsed(std::vector<const char*> arguments = {}) {
    arguments.insert(arguments.begin(), "offshoot-hmm");
    options.parse(static_cast<int>(arguments.size()), arguments.data());
  }
};

HmmConfig resolved(std::vector<const char*> arguments = {}) {
  Parsed parsed(std::move(arguments));
  parsed.options.resolve();
  return parsed.config;
}

std::string usage_error(std::vector<const char*> arguments) {
  try {
    resolved(std::move(arguments));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "none";
}

TEST(HmmConfig, DefaultsAreTheReferenceConfiguration) {
  const HmmConfig config = resolved();
  const TrainerOptions options = trainer_options(config, 50);
  EXPECT_EQ(options.policy.kind, PolicyKind::mass);
  EXPECT_EQ(options.model.features, 64);
  EXPECT_EQ(options.model.heads, 4);
  EXPECT_EQ(options.model.layers, 1);
  EXPECT_EQ(options.model.context_length, 64);
  ASSERT_TRUE(options.model.moe.has_value());
  EXPECT_EQ(options.model.moe->hidden, 32);
  EXPECT_EQ(options.model.moe->experts, 8);
  EXPECT_EQ(options.model.moe->max_experts, 20);
  EXPECT_EQ(options.model.moe->route.kind, RouteOptions::Kind::top_p);
  EXPECT_EQ(options.model.moe->route.p, 0.9);
  EXPECT_EQ(options.model.moe->route.weights, CombineWeights::renormalised_if_shared);
  EXPECT_FALSE(options.model.moe->gate_bias);
  EXPECT_EQ(options.schedule.kind, Schedule::Kind::cosine);
  EXPECT_EQ(options.schedule.steps, 3000);
  EXPECT_EQ(options.schedule.rate, 3e-3);
  EXPECT_EQ(options.weight_decay, 0.01);
  EXPECT_EQ(options.clip, 0);
  EXPECT_EQ(options.policy.mass.warmup, 150);
  EXPECT_EQ(options.policy.mass.window, 270);
  EXPECT_EQ(options.policy.mass.phase_end, 300);
  EXPECT_EQ(options.policy.mass.max_experts, 20);
  const GincOptions ginc = ginc_options(config);
  EXPECT_EQ(ginc.hmm_seed, 1111u);
  EXPECT_EQ(ginc.test_length, 65);
}

TEST(HmmConfig, MethodsRouteAsTheyShould) {
  const auto route = [](std::vector<const char*> arguments) {
    return trainer_options(resolved(std::move(arguments)), 50).model.moe->route;
  };
  EXPECT_EQ(route({"--method", "topk"}).weights, CombineWeights::renormalised);
  EXPECT_EQ(route({"--method", "topk"}).k, 2);
  EXPECT_EQ(route({"--method", "topk", "--topk", "1"}).weights, CombineWeights::raw);
  EXPECT_EQ(route({"--method", "topp", "--p", "1"}).p, 1.0);
  EXPECT_EQ(route({"--method", "topp", "--preset", "paper"}).weights, CombineWeights::raw);
  EXPECT_EQ(route({"--preset", "paper"}).weights, CombineWeights::raw);
  EXPECT_EQ(route({}).weights, CombineWeights::renormalised_if_shared);
  EXPECT_EQ(route({"--combine", "raw"}).weights, CombineWeights::raw);
  EXPECT_EQ(route({"--preset", "paper", "--combine", "renormalised_if_shared"}).weights,
            CombineWeights::renormalised_if_shared);
  EXPECT_EQ(route({"--method", "topk", "--topk", "1", "--combine", "renormalised"}).weights,
            CombineWeights::renormalised);

  const TrainerOptions dense = trainer_options(resolved({"--method", "dense"}), 50);
  EXPECT_FALSE(dense.model.moe.has_value());
  EXPECT_EQ(dense.model.dense_hidden, 64);
  EXPECT_EQ(trainer_options(resolved({"--preserve-function", "on"}), 50).model.moe->gate_bias,
            true);
}

TEST(HmmConfig, AMethodIsARouterAndAPolicy) {
  struct Pair {
    const char* method;
    RouterKind router;
    PolicyKind policy;
  };
  for (const Pair& pair : {Pair{"mass", RouterKind::softmax, PolicyKind::mass},
                           {"topk", RouterKind::softmax, PolicyKind::never},
                           {"topp", RouterKind::softmax, PolicyKind::never},
                           {"gmoe", RouterKind::cosine, PolicyKind::never},
                           {"dynmoe", RouterKind::top_any, PolicyKind::dynmoe},
                           {"sigmoid", RouterKind::sigmoid, PolicyKind::never}}) {
    const TrainerOptions options = trainer_options(resolved({"--method", pair.method}), 50);
    EXPECT_EQ(options.model.moe->router, pair.router) << pair.method;
    EXPECT_EQ(options.policy.kind, pair.policy) << pair.method;
    EXPECT_EQ(options.losses.diversity, std::string(pair.method) == "dynmoe" ? 0.01 : 0.0);
  }
  const TrainerOptions mixed =
      trainer_options(resolved({"--method", "dynmoe", "--router", "sigmoid", "--topk", "3",
                                "--policy", "random", "--diversity-loss", "0"}),
                      50);
  EXPECT_EQ(mixed.model.moe->router, RouterKind::sigmoid);
  EXPECT_EQ(mixed.model.moe->route.k, 3);
  EXPECT_EQ(mixed.policy.kind, PolicyKind::random);
  EXPECT_EQ(mixed.losses.diversity, 0.0);
  EXPECT_NE(usage_error({"--method", "dense", "--router", "topk"}).find("no experts"),
            std::string::npos);
  EXPECT_EQ(usage_error({"--method", "gmoe", "--policy", "dynmoe"}), "none");
}

TEST(HmmConfig, PoliciesHaveSchedulesOfTheirOwn) {
  const PolicyOptions usual = trainer_options(resolved({"--method", "dynmoe"}), 50).policy;
  EXPECT_EQ(usual.dynmoe.interval, 100);
  EXPECT_EQ(usual.dynmoe.phase_end, 2700);
  EXPECT_EQ(usual.dynmoe.max_experts, 20);
  EXPECT_EQ(usual.every, 25);  // 300 steps for 12 splits
  const PolicyOptions own =
      trainer_options(resolved({"--method", "dynmoe", "--adapt-every", "7", "--adapt-until", "70",
                                "--adapt-newborn", "fresh", "--max-experts", "9", "--seed", "4",
                                "--grow-every", "3"}),
                      50)
          .policy;
  EXPECT_EQ(own.dynmoe.interval, 7);
  EXPECT_EQ(own.dynmoe.phase_end, 70);
  EXPECT_EQ(own.dynmoe.max_experts, 9);
  EXPECT_EQ(own.dynmoe.newborn, NewbornState::fresh);
  EXPECT_EQ(own.dynmoe.seed, 4u);
  EXPECT_EQ(own.every, 3);
}

// A flag that nothing looks at is said to be one.
TEST(HmmConfig, IdleFlagsAreNamed) {
  using Flags = std::vector<std::string>;
  EXPECT_EQ(resolved({"--p", "0.5", "--delta", "0.1", "--max-experts", "9"}).idle, Flags{});
  EXPECT_EQ(
      resolved({"--method", "topk", "--p", "0.5", "--delta", "0.1", "--adapt-every", "3"}).idle,
      (Flags{"--p", "--adapt-every", "--delta"}));
  EXPECT_EQ(resolved({"--method", "dynmoe", "--topk", "3", "--combine", "raw"}).idle,
            (Flags{"--topk", "--combine"}));
  EXPECT_EQ(resolved({"--method", "dense", "--experts", "3", "--temperature", "off"}).idle,
            (Flags{"--experts", "--temperature"}));
  EXPECT_EQ(resolved({"--policy", "random", "--alpha", "0.1", "--lred", "0"}).idle,
            Flags{"--alpha"});
  EXPECT_EQ(resolved({"--grow-every", "4", "--load-sigma", "1"}).idle,
            (Flags{"--grow-every", "--load-sigma"}));
  EXPECT_EQ(resolved({"--policy", "schedule", "--grow-every", "4"}).idle, Flags{});
}

TEST(HmmConfig, EveryLossHasAFlag) {
  const RouterLosses losses =
      trainer_options(
          resolved({"--balance-loss", "0.1", "--z-loss", "0.2", "--importance-loss", "0.3",
                    "--load-loss", "0.4", "--load-sigma", "0.5", "--diversity-loss", "0.6",
                    "--orthogonality-loss", "0.7", "--variance-loss", "0.8"}),
          50)
          .losses;
  EXPECT_EQ(losses.balance, 0.1);
  EXPECT_EQ(losses.z, 0.2);
  EXPECT_EQ(losses.importance, 0.3);
  EXPECT_EQ(losses.load, 0.4);
  EXPECT_EQ(losses.load_sigma, 0.5);
  EXPECT_EQ(losses.diversity, 0.6);
  EXPECT_EQ(losses.orthogonality, 0.7);
  EXPECT_EQ(losses.variance, 0.8);
  const TrainerOptions others = trainer_options(
      resolved({"--gradient-noise", "0.9", "--shared-hidden", "5", "--method", "topk"}), 50);
  EXPECT_EQ(others.gradient_noise, 0.9);
  EXPECT_EQ(others.model.moe->shared_hidden, 5);
}

// A preset's value stands unless a flag overrides it, whatever their order.
TEST(HmmConfig, FlagsOverrideThePreset) {
  const MassOptions paper = resolved({"--preset", "paper"}).mass;
  EXPECT_EQ(paper.decomposition, Decomposition::paper);
  EXPECT_EQ(paper.newborn, NewbornState::inherit);
  EXPECT_FALSE(paper.fc1_norm_only);
  EXPECT_TRUE(paper.patience_returns);

  const MassOptions mixed =
      resolved({"--newborn", "fresh", "--norm", "fc1", "--preset", "paper", "--steps", "1000",
                "--phase-end", "77", "--alpha", "0.2", "--cpd", "off", "--delta-scale", "sqrt_dim"})
          .mass;
  EXPECT_EQ(mixed.decomposition, Decomposition::paper);
  EXPECT_EQ(mixed.newborn, NewbornState::fresh);
  EXPECT_TRUE(mixed.fc1_norm_only);
  EXPECT_EQ(mixed.phase_end, 77);
  EXPECT_EQ(mixed.window, 90);
  EXPECT_EQ(mixed.alpha, 0.2);
  EXPECT_FALSE(mixed.change_point);
  EXPECT_TRUE(mixed.scale_delta_by_dim);
  EXPECT_TRUE(mixed.alignment);
}

// Every flag of MASS, set to what no preset has, changes the field that it is named after.
TEST(HmmConfig, EveryMassOptionHasAFlag) {
  const HmmConfig c = resolved({"--phase-begin",
                                "1",
                                "--phase-end",
                                "200",
                                "--warmup",
                                "2",
                                "--window",
                                "7",
                                "--alpha",
                                "0.5",
                                "--delta",
                                "0.25",
                                "--patience",
                                "9",
                                "--nll-min",
                                "4",
                                "--lred",
                                "0.75",
                                "--cpd",
                                "off",
                                "--alignment",
                                "off",
                                "--norm",
                                "expert",
                                "--idle",
                                "skip",
                                "--flat-window",
                                "zero",
                                "--z-full",
                                "on",
                                "--zero-cosine",
                                "aligned",
                                "--stopping",
                                "off",
                                "--relative-norm",
                                "on",
                                "--probe-order",
                                "all",
                                "--lred-over",
                                "mean",
                                "--lred-phase",
                                "always",
                                "--newborn",
                                "inherit",
                                "--max-experts",
                                "30",
                                "--probe-dropout",
                                "same",
                                "--delta-scale",
                                "sqrt_dim",
                                "--preserve-function",
                                "on",
                                "--stop-removes",
                                "off",
                                "--patience-counts",
                                "consecutive",
                                "--decomposition",
                                "clone"});
  const MassOptions& m = c.mass;
  EXPECT_EQ(m.phase_begin, 1);
  EXPECT_EQ(m.phase_end, 200);
  EXPECT_EQ(m.warmup, 2);
  EXPECT_EQ(m.window, 7);
  EXPECT_EQ(m.alpha, 0.5);
  EXPECT_EQ(m.delta, 0.25);
  EXPECT_EQ(m.patience, 9);
  EXPECT_EQ(m.min_expansions, 4);
  EXPECT_EQ(m.redundancy_weight, 0.75);
  EXPECT_EQ(m.max_experts, 30);
  EXPECT_EQ(m.decomposition, Decomposition::clone);
  EXPECT_EQ(m.newborn, NewbornState::inherit);
  for (const bool off : {m.change_point, m.alignment, m.fc1_norm_only, m.observe_idle,
                         m.constant_is_invalid, m.stopping, m.stop_removes_last}) {
    EXPECT_FALSE(off);
  }
  for (const bool on : {m.full_z_window, m.relative_norm, m.scale_delta_by_dim, m.zero_is_aligned,
                        m.patience_returns, m.probe_before_change, m.probe_same_dropout,
                        m.preserve_function, m.redundancy_mean, m.redundancy_always}) {
    EXPECT_TRUE(on);
  }
}

TEST(HmmConfig, RefusesWhatCannotBe) {
  const std::vector<std::pair<std::vector<const char*>, const char*>> cases = {
      {{"--colour", "1"}, "--colour: unknown flag"},
      {{"--p", "1.5"}, "--p: got 1.5, expected a number in (0, 1]"},
      {{"--p", "0"}, "--p: got 0, expected a number in (0, 1]"},
      {{"--experts", "21"}, "--experts: got 21, expected at most --max-experts, which is 20"},
      {{"--experts", "0"}, "--experts: got 0"},
      {{"--method", "topk", "--topk", "9"}, "--topk: got 9, expected at most --experts"},
      {{"--method", "moe"},
       "--method: got moe, expected mass, topk, topp, gmoe, dynmoe, sigmoid, dense"},
      {{"--heads", "5"}, "--heads: got 5, expected a divisor of --d-model, which is 64"},
      {{"--device", "cuda:99"}, "--device: got cuda:99, expected"},
      {{"--device", "gpu"}, "--device: got gpu, expected cpu, cuda or cuda:<n>"},
      {{"--precision", "bf16"},
       "--precision: got bf16, which wants --device cuda, expected f32 or f64 on the CPU"},
      {{"--method", "dense", "--z-loss", "0.1"}, "--z-loss: got one with --method dense"},
      {{"--router", "sigmoid", "--preserve-function", "on"},
       "--preserve-function: got on with router sigmoid"},
      {{"--policy", "random", "--steps", "30"},
       "--policy: got random with 12 splits in a phase of 3"},
      {{"--steps", "0"}, "--steps: got 0"},
      {{"--steps", "10", "--stop-at", "11"}, "--stop-at: got 11, expected at most --steps"},
      {{"--steps", "10", "--lr-warmup", "10"}, "--lr-warmup: got 10"},
      {{"--lr", "nan"}, "--lr: got nan"},
      {{"--seq", "10240"}, "--seq: got 10240, expected less than --document-length"},
      {{"--symbols", "256", "--eot"}, "--symbols: got 256"},
      {{"--phase-begin", "400"}, "phase: got [400, 300)"},
      {{"--alpha", "2"}, "alpha: got 2"},
      {{"--threads", "0"}, "--threads: got 0"},
      {{"--cpd", "maybe"}, "--cpd: got maybe, expected on, off"},
  };
  for (const auto& [arguments, text] : cases) {
    const std::string error = usage_error(arguments);
    EXPECT_NE(error.find(text), error.npos) << error << "\nshould contain\n" << text;
    EXPECT_EQ(error.find('\n'), error.npos) << error;
  }
  EXPECT_EQ(usage_error({"--p", "1"}), "none");
}

TEST(HmmConfig, ComesBackFromItsJson) {
  Parsed first({"--preset", "paper", "--steps", "500", "--window", "20", "--eot", "--seed", "4"});
  first.options.resolve();
  Json written = Json::parse(first.options.to_json().dump());
  written["corpus-hash"] = "abc";

  Parsed second;
  second.options.inherit(written, "run.h5");
  second.options.resolve();
  EXPECT_EQ(second.config.corpus_hash, "abc");
  EXPECT_EQ(second.config.mass.window, 20);
  EXPECT_EQ(second.config.mass.decomposition, Decomposition::paper);
  EXPECT_TRUE(second.config.ginc.end_of_text);
  EXPECT_EQ(second.options.to_json().dump(), written.dump());
}

TEST(HmmConfig, AResumedRunKeepsItsConfiguration) {
  Parsed first({"--lr", "0.25", "--out", "here", "--stop-at", "5"});
  first.options.resolve();
  const Json written = first.options.to_json();
  EXPECT_FALSE(written.contains("out"));
  EXPECT_FALSE(written.contains("stop-at"));
  EXPECT_FALSE(written.contains("threads"));
  EXPECT_FALSE(written.contains("save-every"));

  Parsed same({"--lr", "0.25", "--threads", "1"});
  same.options.inherit(written, "run.h5");
  EXPECT_EQ(same.config.lr, 0.25);
  Parsed other({"--lr", "0.5"});
  try {
    other.options.inherit(written, "run.h5");
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(),
                 "[offshoot-hmm] --lr: got 0.5, but the run in run.h5 has 0.25, and "
                 "goes on with it");
  }
}

}  // namespace
}  // namespace offshoot
