#include "tests/mass/growing_model.h"

#include "engine/random.h"
#include "ops/cross_entropy.h"

namespace offshoot::testing {
namespace {

constexpr int64_t kVocabulary = 7, kBatch = 2, kLength = 5;

GincTransformerOptions model_options(const GrowingModelOptions& options) {
  GincTransformerOptions model;
  model.vocabulary = kVocabulary;
  model.context_length = kLength;
  model.features = 4;
  model.heads = 2;
  model.layers = 2;
  model.moe.emplace();
  model.moe->hidden = 2;
  model.moe->experts = options.experts;
  model.moe->max_experts = options.reserve;
  model.moe->route = options.route;
  model.moe->gate_bias = true;
  return model;
}

AdamOptions adam_options(const GrowingModelOptions& options) {
  AdamOptions adam;
  adam.newborn = options.newborn;
  return adam;
}

MassOptions mass(const GrowingModelOptions& options) {
  MassOptions mass = mass_options(MassPreset::reference, 1000);
  mass.max_experts = options.reserve + 100;
  mass.warmup = 2;
  mass.window = 4;
  mass.alpha = 1e-30;  // the tests decide
  mass.decomposition = options.decomposition;
  return mass;
}

Tensor random_tokens(uint64_t seed, uint64_t stream) {
  Random random(seed, stream);
  const Tensor tokens({kBatch, kLength}, DType::i32);
  for (int32_t& token : tokens.elements<int32_t>()) {
    token = static_cast<int32_t>(random.below(kVocabulary));
  }
  return tokens;
}

}  // namespace

GrowingModel::GrowingModel(const GrowingModelOptions& options)
    : model_(Scope{"", options.dtype, 5}, model_options(options)),
      optimizer_(decay_matrices_only(model_, 0.01), adam_options(options)),
      controller_(model_.moe_layers(), mass(options)) {
  controller_.prepare(0);
}

Tensor GrowingModel::backward(uint64_t seed) {
  optimizer_.zero_grad();
  Tape tape;
  Context context{tape, true, {seed, step_, 0}};
  const Tensor logits = model_.forward(context, random_tokens(seed, 0));
  tape.backward(cross_entropy(tape, logits, random_tokens(seed, 1)));
  return logits;
}

void GrowingModel::train(uint64_t seed) {
  backward(seed);
  std::vector<std::vector<int64_t>> tokens;
  for (MoeLayer* layer : model_.moe_layers()) {
    tokens.emplace_back(static_cast<size_t>(layer->experts()), 1);
  }
  controller_.grow(step_++, tokens, 0.0, {});
  optimizer_.step(1e-2);
}

Bits GrowingModel::bits() {
  Bits bits;
  for (Parameter* p : parameters(model_)) {
    bits[p->name()] = bytes_of(p->value());
    bits[p->name() + ".grad"] = bytes_of(p->grad());
    bits[p->name() + ".has_grad"] = {std::byte{p->has_grad()}};
  }
  optimizer_.each_state(
      [&](const std::string& name, const Tensor& state) { bits[name] = bytes_of(state); });
  for (size_t i = 0; i < controller_.layers().size(); ++i) {
    const std::string name = controller_.layers()[i]->name();
    controller_.detector(i)->each_state([&](std::string_view state, const Tensor& tensor) {
      bits[name + "/" + std::string(state)] = bytes_of(tensor);
    });
    for (const int64_t id : controller_.layers()[i]->group().ids()) {
      bits[name + "/ids"].push_back(static_cast<std::byte>(id));
    }
  }
  return bits;
}

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  return {tensor.raw(), tensor.raw() + tensor.bytes()};
}

std::vector<std::string> differences(const Bits& a, const Bits& b) {
  std::vector<std::string> names;
  for (const auto& [name, bytes] : a) {
    const auto found = b.find(name);
    if (found == b.end() || found->second != bytes) names.push_back(name);
  }
  for (const auto& [name, bytes] : b) {
    if (!a.contains(name)) names.push_back(name);
  }
  return names;
}

}  // namespace offshoot::testing
