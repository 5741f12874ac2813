// One trial in this process, and the studies' plans.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "engine/error.h"
#include "engine/parallel.h"
#include "tests/tools/hmm_run.h"
#include "tools/hmm/evaluation.h"
#include "tools/hmm/study/study.h"
#include "tools/hmm/study/trial.h"

namespace offshoot {
namespace {

Trial quick_trial(const std::vector<std::string>& more = {}) {
  Trial trial;
  trial.cell = "quick";
  trial.seed = 3;
  trial.flags = testing::quick_flags();
  trial.flags.insert(trial.flags.end(), more.begin(), more.end());
  return trial;
}

// The same run as the program's.
TEST(StudyTrial, IsTheProgramsRun) {
  const StudyRun run = run_trial(quick_trial());
  testing::QuickRun program(testing::quick_config({"--seed", "3"}));
  program.train(40);
  const Evaluation evaluation = evaluate(program.trainer.model(), program.data.corpus);
  EXPECT_EQ(run.measure("test_loss"), evaluation.loss);
  EXPECT_EQ(run.measure("experts"), static_cast<double>(evaluation.layers[0].experts()));
  EXPECT_EQ(run.measure("active_experts"), evaluation.layers[0].active_experts);
  EXPECT_EQ(run.measure("jsd_entity"), evaluation.layers[0].entity.sparse);
  ASSERT_EQ(run.events.size(), program.log.events().size());
  EXPECT_EQ(run.initial_experts, 3);
  EXPECT_EQ(run.experts.front(), (std::pair<int64_t, int64_t>{0, 3}));
  EXPECT_EQ(run.experts.back().second, evaluation.layers[0].experts());
  EXPECT_FALSE(run.measures.contains("step_us"));  // no times, or no two runs would be equal
  EXPECT_GT(run.measure("floor"), 0);
  EXPECT_LT(run.measure("floor"), run.measure("test_loss"));
}

TEST(StudyTrial, DenseHasNoExperts) {
  const StudyRun run = run_trial(quick_trial({"--method", "dense", "--hidden", "8"}));
  EXPECT_TRUE(std::isnan(run.measure("experts")));
  EXPECT_TRUE(run.experts.empty());
  EXPECT_GT(run.measure("flops_per_token"), 0);
}

// d 16, seq 16, hidden 8, 50 symbols: attention 2 * 4 * 256 + 4 * 8.5 * 16, head 2 * 16 * 50.
TEST(StudyTrial, CountsFlops) {
  const auto flops = [](const std::vector<std::string>& more, double experts, double active) {
    return flops_per_token(config_of(quick_trial(more)), 50, experts, active);
  };
  const double rest = 2048 + 544 + 1600;
  EXPECT_EQ(flops({"--method", "dense"}, 0, 0), rest + 2 * 2 * 16 * 8);
  EXPECT_EQ(flops({"--method", "topk"}, 3, 2), rest + 2 * 16 * 3 + 2 * 2 * 2 * 16 * 8);
  EXPECT_EQ(flops({"--method", "topk", "--shared-hidden", "5"}, 3, 2),
            rest + 2 * 16 * 3 + 2 * 2 * 16 * (2 * 8 + 5));
  EXPECT_EQ(flops({"--method", "gmoe"}, 3, 2), rest + 2 * 256 * (16 + 3) + 2 * 2 * 2 * 16 * 8);
}

// With one concept a stage, a model trained on the first knows it better than the others.
TEST(StudyTrial, StagesChangeWhatTrainingSees) {
  Trial trial = quick_trial({"--documents", "24", "--steps", "60", "--method", "topk"});
  trial.followed = {{0}, {1, 2, 3, 4}};
  trial.follow_every = 30;
  trial.stages = {{0, {0}}, {30, {1, 2, 3, 4}}};
  const StudyRun staged = run_trial(trial);
  const auto& first = staged.curves.at("loss_stage_1");
  ASSERT_EQ(first.size(), 3u);
  EXPECT_EQ(first[0].first, 0);
  EXPECT_EQ(first[1].first, 30);
  EXPECT_EQ(first[2].first, 60);
  trial.stages = {{0, {0}}};
  const StudyRun one = run_trial(trial);
  EXPECT_EQ(one.curves.at("loss_stage_1")[1].second, first[1].second);  // equal as far as that
  EXPECT_NE(one.curves.at("loss_stage_1")[2].second, first[2].second);
  EXPECT_GT(one.curves.at("loss_stage_2")[2].second, staged.curves.at("loss_stage_2")[2].second);

  trial.stages = {{0, {9}}};
  EXPECT_THROW(run_trial(trial), Error);
}

TEST(StudyTrial, TimesAreMeasuredWhereAsked) {
  Trial trial = quick_trial();
  trial.timed = true;
  const StudyRun run = run_trial(trial);
  for (const char* name : {"step_us", "steady_step_us", "observe_us", "decide_us", "edit_us",
                           "window_bytes", "model_bytes", "optimizer_bytes"}) {
    EXPECT_GT(run.measure(name), 0) << name;
  }
  EXPECT_LT(run.measure("observe_us") + run.measure("decide_us"), 1e6);
  EXPECT_GT(run.measure("optimizer_bytes"), 2 * run.measure("model_bytes") * 0.99);
}

TEST(StudyFlags, LaterOnesReplaceEarlierOnes) {
  Flags flags{{"--steps", "10"}, {"--eot", ""}};
  flags.set("--topk", int64_t{3}).set(Flags::parse("--steps 20  --prior-values --hidden 4"));
  EXPECT_EQ(flags.list(), (std::vector<std::string>{"--steps", "20", "--eot", "--topk", "3",
                                                    "--prior-values", "--hidden", "4"}));
  EXPECT_THROW(Flags::parse("50"), UsageError);
  EXPECT_THROW(Flags::parse("--steps 50 60"), UsageError);
}

TEST(StudyFlags, WhatACellSetsIsNotTheUsers) {
  StudySettings settings;
  settings.flags = Flags::parse("--documents 5 --topk 3");
  for (const CellPlan& plan : kPaperStudy.plan(settings)) {
    const bool sets_it = plan.cell.name.starts_with("topk");
    EXPECT_EQ(plan.refused, sets_it ? "--topk" : "") << plan.cell.name;
  }
  settings.flags = Flags::parse("--documents 5 --hidden 16");
  for (const CellPlan& plan : kPaperStudy.plan(settings)) {
    const HmmConfig config = config_of(plan.trials[0]);
    EXPECT_EQ(config.ginc.train_documents, 5);
    const bool dense = config.method == "dense";
    EXPECT_EQ(*config.hidden, dense ? 16 * plan.cell.numbers.at("experts") : 16) << plan.cell.name;
    EXPECT_EQ(config.shared_hidden, plan.cell.name == "shared-K10" ? 16 : 0);
  }
}

// Names are unique, and every trial's flags come to a configuration.
TEST(Studies, PlansCanBeRun) {
  for (const Study& study : studies()) {
    for (const bool quick : {false, true}) {
      StudySettings settings;
      settings.quick = quick;
      settings.steps = quick ? 40 : study.steps;
      settings.seeds = 1;
      std::set<std::string> names;
      for (const CellPlan& plan : study.plan(settings)) {
        EXPECT_TRUE(names.insert(plan.cell.name).second) << plan.cell.name;
        EXPECT_FALSE(plan.cell.label.empty());
        ASSERT_EQ(plan.trials.size(), 1u) << plan.cell.name;
        for (const Trial& trial : plan.trials) {
          EXPECT_EQ(config_of(trial).steps, settings.steps) << trial.name();
          EXPECT_EQ(config_of(trial).seed, trial.seed);
        }
      }
    }
  }
}

TEST(Studies, ThePaperHasItsGrid) {
  StudySettings settings;
  const auto plans = kPaperStudy.plan(settings);
  EXPECT_EQ(plans.size(), 40u);
  int64_t steps = 0;
  for (const CellPlan& plan : plans) {
    EXPECT_EQ(plan.trials.size(), 5u);
    steps += 5 * config_of(plan.trials[0]).steps;
  }
  EXPECT_EQ(steps, 600000);
}

}  // namespace
}  // namespace offshoot
