// Runs in this process: batches, evaluation, metrics, checkpoints in the middle of the expansion
// phase.
#include "tests/tools/hmm_run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "engine/error.h"
#include "mass/controller.h"
#include "ops/cross_entropy.h"
#include "tests/engine/file_test.h"
#include "tests/tools/checkpoint_bytes.h"
#include "tools/hmm/evaluation.h"
#include "tools/hmm/result.h"

namespace offshoot {
namespace {

using testing::checkpoint_bytes;
using testing::differences;
using testing::quick_config;
using testing::QuickRun;

class HmmRunTest : public FileTest {};

TEST_F(HmmRunTest, BatchesAreWindowsOfTheCorpus) {
  QuickRun run(quick_config());
  const Documents& train = run.data.corpus.train;
  const std::string text(train.tokens.begin(), train.tokens.end());
  std::set<size_t> places;
  for (int i = 0; i < 5; ++i) {
    const Tensor batch = run.batches.next();
    ASSERT_EQ(batch.shape(), (Shape{4, 17}));
    for (int64_t b = 0; b < 4; ++b) {
      const int32_t* row = batch.data<int32_t>() + b * 17;
      const size_t place = text.find(std::string(row, row + 17));
      ASSERT_NE(place, text.npos);
      places.insert(place);
    }
  }
  EXPECT_GT(places.size(), 15u);
  EXPECT_EQ(run.batches.position(), 20);
  run.batches.seek(4);
  const Tensor again = run.batches.next();
  QuickRun other(quick_config());
  other.batches.next();
  const Tensor first = other.batches.next();
  EXPECT_TRUE(std::ranges::equal(again.elements<int32_t>(), first.elements<int32_t>()));
}

TEST_F(HmmRunTest, CorporaComeFromFilesAndAreHeldToTheirHash) {
  HmmConfig config = quick_config();
  config.save_corpus = path("corpus.h5");
  const HmmData made = load_data(config);
  config.save_corpus.reset();
  config.corpus = path("corpus.h5");
  config.corpus_hash = made.hash;
  const HmmData read = load_data(config);
  EXPECT_EQ(read.corpus, made.corpus);
  EXPECT_EQ(read.hash, made.hash);
  EXPECT_EQ(read.source, path("corpus.h5"));

  config.seq = 7;
  EXPECT_EQ(load_data(config).corpus.test.length, 8);
  config.seq = 300;
  EXPECT_TRUE(contains(error_of([&] { load_data(config); }), "got documents of 300 tokens"));
  config.seq = 16;
  config.corpus_hash = "0123";
  const std::string error = error_of([&] { load_data(config); });
  EXPECT_TRUE(contains(error, made.hash)) << error;
  EXPECT_TRUE(contains(error, "expected 0123")) << error;
}

// The test loss is the mean over single sequences; combine weights of a token sum to 1, so do the
// mean weights of a label.
TEST_F(HmmRunTest, EvaluatesEverySequenceOnce) {
  QuickRun run(quick_config({"--method", "topk", "--topk", "2", "--precision", "f64"}));
  run.train(20);
  const Evaluation evaluation = evaluate(run.trainer.model(), run.data.corpus);
  double sum = 0;
  for (int64_t d = 0; d < run.data.corpus.test.count; ++d) {
    const auto tokens = run.data.corpus.test.tokens_of(d);
    Tensor batch({1, 17}, DType::i32);
    std::ranges::copy(tokens, batch.data<int32_t>());
    const auto [inputs, targets] = inputs_and_targets(batch);
    Tape tape = Tape::none();
    Context context{tape};
    sum += cross_entropy(tape, run.trainer.model().forward(context, inputs), targets).item();
  }
  EXPECT_NEAR(evaluation.loss, sum / 8, 1e-12);
  EXPECT_EQ(test_loss(run.trainer.model(), run.data.corpus.test), evaluation.loss);

  ASSERT_EQ(evaluation.layers.size(), 1u);
  const LayerEvaluation& layer = evaluation.layers[0];
  EXPECT_EQ(evaluation.tokens, 8 * 16);
  EXPECT_EQ(layer.active_experts, 2.0);
  EXPECT_EQ(layer.tokens[0] + layer.tokens[1] + layer.tokens[2], 2 * 8 * 16);
  ASSERT_EQ(layer.by_entity.size(), 10u);
  for (const auto& weights : layer.by_entity) {
    const double total = weights[0] + weights[1] + weights[2];
    EXPECT_TRUE(total == 0 || std::abs(total - 1) < 1e-12) << total;
  }
  EXPECT_GE(layer.entity.sparse, 0);
  EXPECT_LE(layer.entity.sparse, std::log(3.0));
}

// A loss's weight is seen in the step's auxiliary loss, twice as large for twice the weight, and in
// where training goes.
TEST_F(HmmRunTest, EveryLossIsTrainedOn) {
  QuickRun plain(quick_config({"--method", "topk"}));
  plain.train(2);
  for (const char* flag : {"--balance-loss", "--z-loss", "--importance-loss", "--load-loss",
                           "--diversity-loss", "--orthogonality-loss", "--variance-loss"}) {
    SCOPED_TRACE(flag);
    QuickRun once(quick_config({"--method", "topk", flag, "0.5"}));
    QuickRun twice(quick_config({"--method", "topk", flag, "1"}));
    once.train(2);
    twice.train(1);
    EXPECT_NE(once.log.auxiliary_loss()[0], 0.0);
    EXPECT_NEAR(twice.log.auxiliary_loss()[0], 2 * once.log.auxiliary_loss()[0],
                1e-6 * std::abs(twice.log.auxiliary_loss()[0]));
    EXPECT_EQ(once.log.loss()[0], plain.log.loss()[0]);
    EXPECT_NE(once.log.loss()[1], plain.log.loss()[1]);
  }
}

TEST_F(HmmRunTest, PredictsPromptsInBatchesOfAnySize) {
  QuickRun run(quick_config({"--method", "dense"}));
  run.train(5);
  const PromptPredictor predict = prompt_predictor(run.trainer.model());
  const std::vector<uint8_t>& tokens = run.data.corpus.train.tokens;
  const auto many = predict(std::span(tokens).first(7 * 100), 100, 7);
  ASSERT_EQ(many.size(), 100u);
  for (size_t i = 0; i < 100; i += 33) {
    EXPECT_EQ(predict(std::span(tokens).subspan(i * 7, 7), 1, 7).front(), many[i]);
  }
}

// Experts come and go before and after the checkpoint; all bytes agree but the provenance.
TEST_F(HmmRunTest, ResumesInTheExpansionPhase) {
  const std::vector<std::vector<std::string>> policies{
      {"--preset", "reference"},
      {"--preset", "paper"},
      {"--policy", "schedule", "--grow-every", "7"},
      {"--policy", "random"},
      {"--method", "dynmoe", "--adapt-every", "11"},
      {"--gradient-noise", "0.1", "--shared-hidden", "4"}};
  for (std::vector<std::string> flags : policies) {
    SCOPED_TRACE(flags[1]);
    flags.insert(flags.end(), {"--layers", "2"});
    const HmmConfig config = quick_config(flags);
    QuickRun whole(config), half(config), rest(config);
    whole.train(40);
    save_run(path("whole.h5"), whole.state(), Json::object(), {{"run", "whole"}});
    half.train(20);
    save_run(path("half.h5"), half.state(), Json::object(), {});
    load_run(CheckpointReader(path("half.h5")), rest.state());
    EXPECT_EQ(rest.trainer.steps_done(), 20);
    ASSERT_FALSE(half.log.events().empty());
    rest.train(40);
    save_run(path("rest.h5"), rest.state(), Json::object(), {{"run", "rest"}});

    EXPECT_LT(half.log.events().size(), whole.log.events().size());
    EXPECT_EQ(differences(checkpoint_bytes(path("whole.h5")), checkpoint_bytes(path("rest.h5"))),
              "");
    EXPECT_EQ(rest.log.json_lines(), whole.log.json_lines());
  }
}

TEST_F(HmmRunTest, ResumesAroundBothEndsOfTheExpansionPhase) {
  const HmmConfig config = quick_config({"--phase-begin", "12", "--phase-end", "30"});
  QuickRun whole(config);
  whole.train(40);
  ASSERT_FALSE(whole.log.events().empty());
  for (const int64_t step : {11, 12, 13, 29, 30, 31}) {
    SCOPED_TRACE(step);
    QuickRun half(config), rest(config);
    half.train(step);
    save_run(path("half.h5"), half.state(), Json::object(), {});
    ASSERT_EQ(error_of([&] { load_run(CheckpointReader(path("half.h5")), rest.state()); }), "");
    rest.train(40);
    EXPECT_EQ(rest.log.json_lines(), whole.log.json_lines());
  }
}

// A report is there or it is not; either way the run goes on.
TEST_F(HmmRunTest, KeepsTheReport) {
  QuickRun run(quick_config()), other(quick_config());
  run.train(3);
  run.report = "{}";
  save_run(path("a.h5"), run.state(), Json::object(), {});
  EXPECT_EQ(CheckpointReader(path("a.h5")).h5().read_texts("report/data").front(), "{}");
  load_run(CheckpointReader(path("a.h5")), other.state());
  EXPECT_EQ(other.report, "{}");
  run.report.clear();
  save_run(path("b.h5"), run.state(), Json::object(), {});
  EXPECT_FALSE(CheckpointReader(path("b.h5")).h5().has("report/data"));
  load_run(CheckpointReader(path("b.h5")), other.state());
  EXPECT_EQ(other.report, "");
}

TEST_F(HmmRunTest, ALayerThatStoppedHasNoWindows) {
  const HmmConfig config = quick_config({"--patience", "0", "--nll-min", "0", "--delta", "0.5"});
  QuickRun run(config), other(config);
  const auto stopped = [](QuickRun& quick) {
    return dynamic_cast<MassController&>(*quick.trainer.policy()).state(0).stopped;
  };
  while (!stopped(run)) {
    ASSERT_LT(run.trainer.steps_done(), 35);
    run.train(run.trainer.steps_done() + 1);
  }
  save_run(path("a.h5"), run.state(), Json::object(), {});
  EXPECT_FALSE(CheckpointReader(path("a.h5")).h5().has("mass/blocks.0.moe/norms"));
  load_run(CheckpointReader(path("a.h5")), other.state());
  EXPECT_TRUE(stopped(other));
  run.train(40);
  other.train(40);
  EXPECT_EQ(other.log.json_lines(), run.log.json_lines());
}

TEST_F(HmmRunTest, RefusesCheckpointsOfOtherShapes) {
  QuickRun run(quick_config());
  run.train(3);
  save_run(path("a.h5"), run.state(), Json::object(), {});
  QuickRun wide(quick_config({"--d-model", "32"})), dense(quick_config({"--method", "dense"}));
  EXPECT_TRUE(contains(error_of([&] { load_run(CheckpointReader(path("a.h5")), wide.state()); }),
                       "expected"));
  EXPECT_TRUE(contains(error_of([&] { load_run(CheckpointReader(path("a.h5")), dense.state()); }),
                       "[hdf5]"));
  EXPECT_EQ(wide.trainer.model().options().features, 32);
}

TEST_F(HmmRunTest, ResultsHoldEverything) {
  QuickRun run(quick_config({"--layers", "2"}));
  run.train(40);
  const Json configuration = Json::object({{"steps", 40}});
  RunResult result{.config = run.config, .configuration = configuration, .log = run.log};
  result.evaluation = evaluate(run.trainer.model(), run.data.corpus);
  result.floor = floor_of(run.data.corpus);
  result.measures = {40, 0.5, 0.01, 1 << 20};
  const Json json = Json::parse(result_json(result).dump());
  EXPECT_EQ(json.get<std::string>("method"), "mass");
  EXPECT_GT(json.get<double>("test_loss"), json.get<double>("floor"));
  EXPECT_EQ(json.at("floor_last").size(), 3);
  EXPECT_EQ(json.get<double>("steps_per_second"), 80);
  EXPECT_EQ(json.get<int64_t>("peak_memory_bytes"), 1 << 20);
  EXPECT_EQ(json.get<int64_t>("configuration", "steps"), 40);
  ASSERT_EQ(json.at("layers").size(), 2);
  double experts = 0, active = 0, entity = 0, property = 0;
  for (int layer = 0; layer < 2; ++layer) {
    experts += json.get<double>("layers", layer, "experts") / 2;
    active += json.get<double>("layers", layer, "active_experts") / 2;
    entity += json.get<double>("layers", layer, "jsd_entity") / 2;
    property += json.get<double>("layers", layer, "jsd_property") / 2;
  }
  EXPECT_DOUBLE_EQ(json.get<double>("experts"), experts);
  EXPECT_DOUBLE_EQ(json.get<double>("active_experts"), active);
  EXPECT_DOUBLE_EQ(json.get<double>("jsd_entity"), entity);
  EXPECT_DOUBLE_EQ(json.get<double>("jsd_property"), property);
  ASSERT_GT(json.at("events").size(), 0);
  for (const char* key :
       {"step", "layer", "kind", "source", "created", "p_value", "cosine", "gain"}) {
    EXPECT_TRUE(json.at("events", 0).contains(key)) << key;
  }
  const ReportData report = report_data(result);
  ASSERT_EQ(report.layers.size(), 2u);
  for (const ReportLayer& layer : report.layers) {
    int64_t living = 0;
    for (const ReportExpert& expert : layer.lineage) living += expert.removed < 0 ? 1 : 0;
    EXPECT_EQ(static_cast<double>(living), layer.experts);
    EXPECT_EQ(layer.experts_curve.value.back(), layer.experts);
    EXPECT_TRUE(std::ranges::is_sorted(layer.routing.expert_ids));
  }
}

}  // namespace
}  // namespace offshoot
