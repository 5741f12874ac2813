#include "tools/hmm/config.h"

#include <filesystem>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr int64_t kExpertHidden = 32;
constexpr int64_t kDenseHidden = 64;
constexpr int64_t kLargestVocabulary = 256;  // tokens are bytes

// What the method and the preset combine with. A fixed number of experts with top-p follows the
// preset, too.
std::string usual_combine(const HmmConfig& config) {
  // With one expert a renormalised weight would be 1, and the gate without a gradient.
  if (config.method == "topk") return config.topk == 1 ? "raw" : "renormalised";
  return config.preset == "paper" ? "raw" : "renormalised_if_shared";
}

CombineWeights parse_combine(const std::string& text) {
  if (text == "raw") return CombineWeights::raw;
  if (text == "renormalised") return CombineWeights::renormalised;
  return CombineWeights::renormalised_if_shared;
}

DType parse_precision(const std::string& text) {
  if (text == "f64") return DType::f64;
  return text == "bf16" ? DType::bf16 : DType::f32;
}

RouteOptions route_options(const HmmConfig& config) {
  RouteOptions route;
  if (config.method == "topk") {
    route.kind = RouteOptions::Kind::top_k;
    route.k = config.topk;
  } else {
    route.kind = RouteOptions::Kind::top_p;
    route.p = config.p;
  }
  route.weights = parse_combine(*config.combine);
  return route;
}

}  // namespace

std::string HmmConfig::out_folder() const {
  if (out) return *out;
  // A run goes on where it was, whatever other run has the usual folder by now.
  if (resume) {
    const std::filesystem::path file(*resume);
    return file.has_parent_path() ? file.parent_path().string() : ".";
  }
  return fmt::format("out/hmm-{}-seed{}", method, seed);
}

HmmOptions::HmmOptions(HmmConfig& config)
    : config_(config),
      options_("offshoot-hmm",
               "Trains a small Transformer on GINC text, a mixture of hidden Markov models, with\n"
               "a mixture of experts that grows while it trains (MASS, arXiv 2512.19765), and\n"
               "compares it with the exact Bayes floor.") {
  declare_method();
  declare_training();
  declare_model();
  mass_ = std::make_unique<MassFlags>(options_);
  declare_corpus();
  declare_run();
}

void HmmOptions::declare_method() {
  HmmConfig& c = config_;
  options_.group("Method");
  options_.add("--method", &c.method, "experts that grow, a fixed number of them, or one MLP")
      .choices({"mass", "topk", "topp", "dense"});
  options_.add("--preset", &c.preset, "MASS as in the authors' code, or as in the paper's text")
      .choices({"reference", "paper"});
  options_.add("--experts", &c.experts, "experts of a layer; mass: at the start").at_least(1);
  options_.add("--max-experts", &c.max_experts, "mass: a layer stops growing there").at_least(1);
  options_.add("--topk", &c.topk, "topk: experts of a token").at_least(1);
  options_.add("--p", &c.p, "mass, topp: probability that a token's experts reach together")
      .above(0)
      .at_most(1);
  options_
      .add("--combine", &c.combine,
           "weights of a token's experts: their probabilities, or divided by their sum, or that "
           "where a token of the batch has two [topk: renormalised, with --topk 1 raw; else "
           "reference: renormalised_if_shared, paper: raw]")
      .choices({"raw", "renormalised", "renormalised_if_shared"});
}

void HmmOptions::declare_training() {
  HmmConfig& c = config_;
  options_.group("Training");
  options_.add("--steps", &c.steps, "training steps, which schedules refer to").at_least(1);
  options_.add("--batch", &c.batch, "sequences a step").at_least(1);
  options_.add("--seq", &c.seq, "predictions a sequence").at_least(1);
  options_.add("--lr", &c.lr, "learning rate of AdamW").above(0);
  options_.add("--schedule", &c.schedule, "of the learning rate")
      .choices({"cosine", "linear", "constant"});
  options_.add("--lr-warmup", &c.lr_warmup, "steps of linear rise before it").at_least(0);
  options_.add("--weight-decay", &c.weight_decay, "of tensors with two or more axes").at_least(0);
  options_.add("--clip", &c.clip, "largest norm of all gradients; 0: none").at_least(0);
  options_.add("--dropout", &c.dropout, "rate, after attention and feed-forward")
      .at_least(0)
      .below(1);
  options_.add("--balance-loss", &c.balance_loss, "weight of the load-balance loss").at_least(0);
  options_.add("--z-loss", &c.z_loss, "weight of the router's z-loss").at_least(0);
  options_.add("--seed", &c.seed, "corpus, batches and first weights").at_least(0);
  options_.add("--test-every", &c.test_every, "steps between tests; 0: at the end only")
      .at_least(0);
}

void HmmOptions::declare_model() {
  HmmConfig& c = config_;
  options_.group("Model");
  options_.add("--d-model", &c.d_model, "width").at_least(1);
  options_.add("--heads", &c.heads, "attention heads, which divide the width").at_least(1);
  options_.add("--layers", &c.layers, "Transformer blocks").at_least(1);
  options_.add("--hidden", &c.hidden, "hidden size of an expert [32]; dense: of the MLP [64]")
      .at_least(1);
  options_
      .add("--precision", &c.precision,
           "of all floating-point numbers; bf16, on CUDA: of activations, parameters stay f32")
      .choices({"f32", "f64", "bf16"});
}

void HmmOptions::declare_corpus() {
  HmmConfig& c = config_;
  options_.group("Corpus");
  options_
      .add("--corpus", &c.corpus,
           "HDF5 file to read; --hmm-seed and below speak of a generated one")
      .local();
  options_.add("--save-corpus", &c.save_corpus, "HDF5 file to write the corpus to").local();
  options_.add("--corpus-hash", &c.corpus_hash, "accept no other corpus than this one");
  options_.add("--hmm-seed", &c.hmm_seed, "hidden Markov models and test set").at_least(0);
  options_.add("--hmms", &c.ginc.hmms, "models; the first half make the corpus").at_least(2);
  options_.add("--entities", &c.ginc.entities, "entities of a model").at_least(1);
  options_.add("--properties", &c.ginc.properties, "properties of a model").at_least(2);
  options_.add("--symbols", &c.ginc.symbols, "vocabulary, delimiter included")
      .at_least(2)
      .at_most(static_cast<double>(kLargestVocabulary));
  options_.add("--entity-self", &c.ginc.entity_self, "weight of staying at an entity")
      .at_least(0)
      .at_most(1);
  options_.add("--prior-values", &c.ginc.prior_values, "entity transitions differ between models");
  options_.add("--eot", &c.ginc.end_of_text, "documents end with a token of their own");
  options_.add("--documents", &c.ginc.train_documents, "training documents").at_least(1);
  options_.add("--document-length", &c.ginc.train_length, "tokens of each").at_least(2);
  options_.add("--test-sequences", &c.ginc.test_documents, "sequences of the test set").at_least(1);
}

void HmmOptions::declare_run() {
  HmmConfig& c = config_;
  options_.group("This run (not inherited by --resume)");
  options_
      .add("--out", &c.out,
           "folder of all results; an earlier run's go [out/hmm-METHOD-seedSEED; that of --resume]")
      .local();
  options_.add("--resume", &c.resume, "checkpoint to go on from").local();
  options_.add("--stop-at", &c.stop_at, "end after so many steps in all; schedules keep --steps")
      .at_least(1)
      .local();
  options_.add("--save-every", &c.save_every, "steps between checkpoints; 0: at the end only")
      .at_least(0)
      .local();
  options_
      .add("--keep", &c.keep,
           "also keep the last N saves, as checkpoint-stepSTEP.h5; --best saves, too")
      .at_least(0)
      .local();
  options_.add("--best", &c.best, "also keep the one of the lowest test loss, as best.h5").local();
  options_.add("--threads", &c.threads, "processors to use [all]")
      .at_least(1)
      .at_most(4096)
      .local();
  options_.add("--device", &c.device, "where to compute: cpu, cuda or cuda:N").local();
  options_.add("--verbose", &c.verbose, "say which kernels and how much memory a device used")
      .local();
  options_.add("--prompts", &c.prompts, "score in-context prompts at the end").local();
}

void HmmOptions::inherit(const Json& configuration, const std::string& where) {
  const Json own = options_.to_json();
  for (const auto& [key, value] : own.members()) {
    const Json* kept = configuration.find(key);
    if (kept == nullptr || !options_.given("--" + key) || value == *kept) continue;
    throw UsageError(fmt::format("[{}] --{}: got {}, but the run in {} has {}, and goes on with it",
                                 options_.program(), key, value.dump(), where, kept->dump()));
  }
  options_.inherit(configuration, where);
}

void HmmOptions::resolve() {
  HmmConfig& c = config_;
  if (!c.combine) c.combine = usual_combine(c);
  if (!c.hidden) c.hidden = c.dense() ? kDenseHidden : kExpertHidden;
  check();
  c.mass = mass_->resolve(parse_mass_preset(c.preset), c.steps);
  c.mass.max_experts = c.max_experts;
}

void HmmOptions::check() const {
  const HmmConfig& c = config_;
  check_device();
  if (c.method == "mass" && c.experts > c.max_experts) {
    options_.refuse("--experts", fmt::format("got {}, expected at most --max-experts, which is {}",
                                             c.experts, c.max_experts));
  }
  if (c.method == "topk" && c.topk > c.experts) {
    options_.refuse("--topk", fmt::format("got {}, expected at most --experts, which is {}", c.topk,
                                          c.experts));
  }
  if (c.d_model % c.heads != 0) {
    options_.refuse("--heads", fmt::format("got {}, expected a divisor of --d-model, which is {}",
                                           c.heads, c.d_model));
  }
  if (c.lr_warmup >= c.steps) {
    options_.refuse("--lr-warmup", fmt::format("got {}, expected less than --steps, which is {}",
                                               c.lr_warmup, c.steps));
  }
  if (c.last_step() > c.steps) {
    options_.refuse("--stop-at", fmt::format("got {}, expected at most --steps, which is {}",
                                             *c.stop_at, c.steps));
  }
  if (!c.corpus && c.seq >= c.ginc.train_length) {
    options_.refuse("--seq",
                    fmt::format("got {}, expected less than --document-length, which is {}", c.seq,
                                c.ginc.train_length));
  }
  if (c.ginc.end_of_text && c.ginc.symbols == kLargestVocabulary) {
    options_.refuse("--symbols", fmt::format("got {}, expected at most {} with --eot",
                                             c.ginc.symbols, kLargestVocabulary - 1));
  }
}

// Asks the machine, too: what it lacks is better said before anything else is done.
void HmmOptions::check_device() const {
  const HmmConfig& c = config_;
  bool cuda = false;
  try {
    cuda = parse_device(c.device).is_cuda();
  } catch (const Error& error) {
    const std::string_view text = error.what();
    options_.refuse("--device", text.substr(text.find("] ") + 2));
  }
  if (c.precision == "bf16" && !cuda) {
    options_.refuse(
        "--precision",
        fmt::format(
            "got bf16{}, which wants --device cuda, expected f32 or f64 on the CPU",
            options_.given("--precision") || !c.resume ? "" : fmt::format(" from {}", *c.resume)));
  }
  if (c.precision == "f64" && cuda) {
    options_.refuse("--precision", fmt::format("got f64, expected f32 or bf16 on {}", c.device));
  }
}

TrainerOptions trainer_options(const HmmConfig& config, int64_t vocabulary) {
  TrainerOptions options;
  options.method = parse_method(config.method);
  options.model.vocabulary = vocabulary;
  options.model.context_length = config.seq;
  options.model.features = config.d_model;
  options.model.heads = config.heads;
  options.model.layers = config.layers;
  options.model.dropout = config.dropout;
  if (config.dense()) {
    options.model.dense_hidden = *config.hidden;
  } else {
    MoeOptions moe;
    moe.hidden = *config.hidden;
    moe.experts = config.experts;
    moe.max_experts = config.method == "mass" ? config.max_experts : config.experts;
    moe.route = route_options(config);
    moe.gate_bias = config.method == "mass" && config.mass.preserve_function;
    options.model.moe = moe;
  }
  options.precision = parse_precision(config.precision);
  options.device = parse_device(config.device);
  options.seed = static_cast<uint64_t>(config.seed);
  options.schedule = {parse_schedule(config.schedule), config.lr, config.steps, config.lr_warmup};
  options.weight_decay = config.weight_decay;
  options.clip = config.clip;
  options.balance_weight = config.balance_loss;
  options.z_weight = config.z_loss;
  options.mass = config.mass;
  return options;
}

GincOptions ginc_options(const HmmConfig& config) {
  GincOptions options = config.ginc;
  options.hmm_seed = static_cast<uint64_t>(config.hmm_seed);
  options.seed = static_cast<uint64_t>(config.seed);
  options.test_length = config.seq + 1;
  return options;
}

}  // namespace offshoot
