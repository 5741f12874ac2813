#include "tools/hmm/evaluation.h"

#include <algorithm>
#include <functional>

#include "engine/context.h"
#include "engine/error.h"
#include "models/layer_record.h"
#include "ops/cross_entropy.h"
#include "ops/layout.h"
#include "ops/reduce.h"
#include "tools/hmm/trainer.h"

namespace offshoot {
namespace {

constexpr int64_t kTokensAtOnce = 4096;

// Sums over the test set of what one layer's router decides.
struct LayerSums {
  LayerSums(MoeLayer& moe, const HmmFamily& hmm)
      : layer(&moe),
        entity(hmm.entities, moe.experts()),
        property(hmm.properties, moe.experts()),
        tokens(static_cast<size_t>(moe.experts())) {}

  MoeLayer* layer;
  Specialization entity;
  Specialization property;
  std::vector<int64_t> tokens;
  int64_t pairs = 0;
};

class EvaluationSink final : public LayerSink {
 public:
  EvaluationSink(GincTransformer& model, const HmmFamily& hmm) {
    for (MoeLayer* layer : model.moe_layers()) layers_.emplace_back(*layer, hmm);
  }

  // Of the batch that comes next, one a token.
  void set_labels(std::vector<int32_t> entity, std::vector<int32_t> property) {
    entity_ = std::move(entity);
    property_ = std::move(property);
  }

  void add(const LayerRecord& record) override {
    const auto found = std::ranges::find(layers_, &record.layer, &LayerSums::layer);
    OFFSHOOT_CHECK(found != layers_.end(), "{}", record.name);
    const Routing routing = to_cpu(record.routed.routing);
    const Tensor probs = record.routed.probs.to(Device{});
    found->entity.add(entity_, probs, routing);
    found->property.add(property_, probs, routing);
    const auto tokens = routing.tokens_per_expert.elements<int64_t>();
    for (size_t e = 0; e < found->tokens.size(); ++e) found->tokens[e] += tokens[e];
    found->pairs += routing.pairs();
  }

  std::vector<LayerEvaluation> results(int64_t tokens) const {
    std::vector<LayerEvaluation> results;
    for (const LayerSums& sums : layers_) {
      results.push_back({sums.layer->name(), sums.layer->group().ids(), sums.tokens,
                         static_cast<double>(sums.pairs) / static_cast<double>(tokens),
                         sums.entity.divergence(), sums.property.divergence(),
                         sums.entity.mean_weights(), sums.property.mean_weights()});
    }
    return results;
  }

 private:
  std::vector<LayerSums> layers_;
  std::vector<int32_t> entity_;
  std::vector<int32_t> property_;
};

// The labels of the documents' inputs: of all tokens but each document's last.
std::vector<int32_t> input_labels(const std::vector<uint8_t>& labels, int64_t length, int64_t first,
                                  int64_t count) {
  std::vector<int32_t> out;
  for (int64_t d = first; d < first + count; ++d) {
    const auto row = labels.begin() + d * length;
    out.insert(out.end(), row, row + length - 1);
  }
  return out;
}

// Calls visit(first document, their number) batch by batch, then adds up the loss.
double mean_loss(GincTransformer& model, const Documents& documents, LayerSink* sink,
                 const std::function<void(int64_t first, int64_t count)>& visit) {
  const int64_t length = documents.length;
  const int64_t at_once = std::max<int64_t>(1, kTokensAtOnce / length);
  double sum = 0;
  for (int64_t first = 0; first < documents.count; first += at_once) {
    const int64_t count = std::min(at_once, documents.count - first);
    Tensor tokens({count, length}, DType::i32);
    std::copy_n(documents.tokens.begin() + first * length, count * length, tokens.data<int32_t>());
    visit(first, count);
    const auto [inputs, targets] = inputs_and_targets(tokens);
    Tape tape = Tape::none();
    Context context{tape, false, {}, {}, sink};
    const Tensor loss = cross_entropy(tape, model.forward(context, inputs), targets);
    sum += loss.item() * static_cast<double>(count);
  }
  return sum / static_cast<double>(documents.count);
}

}  // namespace

double test_loss(GincTransformer& model, const Documents& documents) {
  return mean_loss(model, documents, nullptr, [](int64_t, int64_t) {});
}

Evaluation evaluate(GincTransformer& model, const Corpus& corpus) {
  const Documents& test = corpus.test;
  EvaluationSink sink(model, corpus.hmm);
  Evaluation result;
  result.loss = mean_loss(model, test, &sink, [&](int64_t first, int64_t count) {
    sink.set_labels(input_labels(test.entity, test.length, first, count),
                    input_labels(test.property, test.length, first, count));
  });
  result.tokens = test.count * (test.length - 1);
  result.layers = sink.results(result.tokens);
  return result;
}

PromptPredictor prompt_predictor(GincTransformer& model) {
  return [&model](std::span<const uint8_t> tokens, int64_t prompts, int64_t length) {
    std::vector<int64_t> predicted;
    const int64_t at_once = std::max<int64_t>(1, kTokensAtOnce / length);
    for (int64_t first = 0; first < prompts; first += at_once) {
      const int64_t count = std::min(at_once, prompts - first);
      Tensor batch({count, length}, DType::i32);
      std::ranges::copy(
          tokens.subspan(static_cast<size_t>(first * length), static_cast<size_t>(count * length)),
          batch.data<int32_t>());
      Tape tape = Tape::none();
      Context context{tape};
      const Tensor last = slice(tape, model.forward(context, batch), 1, length - 1, 1);
      const Tensor best = argmax(last, -1).to(Device{});
      std::ranges::copy(best.elements<int64_t>(), std::back_inserter(predicted));
    }
    return predicted;
  };
}

}  // namespace offshoot
