#include "tools/hmm/config.h"

#include <algorithm>
#include <filesystem>

#include "engine/error.h"
#include "tools/hmm/method.h"

namespace offshoot {
namespace {

constexpr int64_t kExpertHidden = 32;
constexpr int64_t kDenseHidden = 64;
constexpr int64_t kLargestVocabulary = 256;  // tokens are bytes

DType parse_precision(const std::string& text) {
  if (text == "f64") return DType::f64;
  return text == "bf16" ? DType::bf16 : DType::f32;
}

}  // namespace

std::string HmmConfig::out_folder() const {
  if (out) return *out;
  // A run goes on where it was, whatever other run has the usual folder by now.
  if (resume) {
    const std::filesystem::path file(*resume);
    return file.has_parent_path() ? file.parent_path().string() : ".";
  }
  return fmt::format("out/hmm-{}-seed{}", method_name(*this), seed);
}

HmmOptions::HmmOptions(HmmConfig& config)
    : config_(config),
      options_("offshoot-hmm",
               "Trains a small Transformer on GINC text, a mixture of hidden Markov models, with\n"
               "a mixture of experts that grows while it trains (MASS, arXiv 2512.19765), and\n"
               "compares it with the exact Bayes floor.\n\n"
               "offshoot-hmm paper, ablate, drift, noise, overhead and need run many of these\n"
               "side by side and make one page of them; offshoot-hmm findings says what the\n"
               "pages come to. Each has a --help of its own.") {
  declare_method();
  declare_policy();
  declare_training();
  declare_losses();
  declare_model();
  mass_ = std::make_unique<MassFlags>(options_);
  declare_corpus();
  declare_run();
}

void HmmOptions::declare_method() {
  HmmConfig& c = config_;
  options_.group("Method");
  options_
      .add("--method", &c.method,
           "a router and a growth policy: topp and mass, topk, topp, cosine (gmoe) or sigmoid and "
           "never, topany and dynmoe; or one MLP")
      .choices({"mass", "topk", "topp", "gmoe", "dynmoe", "sigmoid", "dense"});
  options_.add("--router", &c.router, "who sees a token [the method's]")
      .choices({"topk", "topp", "cosine", "sigmoid", "topany"});
  options_.add("--policy", &c.policy, "how the pool grows [the method's]")
      .choices({"never", "mass", "dynmoe", "schedule", "random"});
  options_.add("--preset", &c.preset, "MASS as in the authors' code, or as in the paper's text")
      .choices({"reference", "paper"});
  options_.add("--experts", &c.experts, "experts of a layer at the start").at_least(1);
  options_.add("--max-experts", &c.max_experts, "a layer stops growing there").at_least(1);
  options_.add("--topk", &c.topk, "topk, cosine, sigmoid: experts of a token").at_least(1);
  options_.add("--p", &c.p, "topp: probability that a token's experts reach together")
      .above(0)
      .at_most(1);
  options_
      .add("--combine", &c.combine,
           "weights of a token's experts: their probabilities, or divided by their sum, or that "
           "where a token of the batch has two [topp: reference: renormalised_if_shared, paper: "
           "raw; else renormalised, with --topk 1 raw]")
      .choices({"raw", "renormalised", "renormalised_if_shared"});
  options_.add("--temperature", &c.temperature, "topany: of its scores")
      .choices({"off", "learned"});
  options_
      .add("--shared-hidden", &c.shared_hidden,
           "hidden size of an expert that sees every token; 0: none")
      .at_least(0);
}

void HmmOptions::declare_policy() {
  HmmConfig& c = config_;
  options_.group("Other growth policies (schedule and random: in MASS's phase)");
  options_.add("--adapt-every", &c.adapt_every, "dynmoe: steps between two adaptations")
      .at_least(1);
  options_
      .add("--adapt-until", &c.adapt_until, "dynmoe: the step after the last [floor(0.9 steps)]")
      .at_least(0);
  options_
      .add("--adapt-newborn", &c.adapt_newborn,
           "dynmoe: step counts of a new expert's moments: its own, or training's")
      .choices({"fresh", "reference"});
  options_
      .add("--grow-every", &c.grow_every,
           "schedule: steps between two splits [the phase over --max-experts less --experts]")
      .at_least(1);
}

void HmmOptions::declare_losses() {
  HmmConfig& c = config_;
  options_.group("Weights of losses on routers and experts");
  options_.add("--balance-loss", &c.balance_loss, "load balance (GShard, Switch)").at_least(0);
  options_.add("--z-loss", &c.z_loss, "squared log-sum of the router's logits").at_least(0);
  options_.add("--importance-loss", &c.importance_loss, "CV^2 of the experts' probability mass")
      .at_least(0);
  options_.add("--load-loss", &c.load_loss, "CV^2 of the experts' smooth token counts").at_least(0);
  options_.add("--load-sigma", &c.load_sigma, "how smooth, in logits").above(0);
  options_
      .add("--diversity-loss", &c.diversity_loss,
           "experts' rows orthogonal and short [dynmoe: 0.01; else 0]")
      .at_least(0);
  options_
      .add("--orthogonality-loss", &c.orthogonality_loss, "outputs of a token's experts orthogonal")
      .at_least(0);
  options_.add("--variance-loss", &c.variance_loss, "probabilities that differ between tokens")
      .at_least(0);
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
  options_
      .add("--gradient-noise", &c.gradient_noise,
           "normal noise on every gradient, in root mean squares of its tensor")
      .at_least(0);
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
  try {
    resolve_method(c);
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
  if (!c.hidden) c.hidden = c.dense() ? kDenseHidden : kExpertHidden;
  check();
  c.mass = mass_->resolve(parse_mass_preset(c.preset), c.steps);
  c.mass.max_experts = c.max_experts;
  check_splits();
  c.idle = idle_flags(c, [this](std::string_view flag) {
    return options_.source(flag) == OptionSource::command_line;
  });
  if (!c.adapt_until) c.adapt_until = c.steps * 9 / 10;
  if (!c.grow_every) {
    const int64_t splits = std::max<int64_t>(1, c.max_experts - c.experts);
    c.grow_every = std::max<int64_t>(1, (c.mass.phase_end - c.mass.phase_begin) / splits);
  }
}

void HmmOptions::check() const {
  const HmmConfig& c = config_;
  check_device();
  c.dense() ? check_dense() : check_experts();
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

void HmmOptions::check_experts() const {
  const HmmConfig& c = config_;
  if (c.grows() && c.experts > c.max_experts) {
    options_.refuse("--experts", fmt::format("got {}, expected at most --max-experts, which is {}",
                                             c.experts, c.max_experts));
  }
  if (chooses_k(c) && c.topk > c.experts) {
    options_.refuse("--topk", fmt::format("got {}, expected at most --experts, which is {}", c.topk,
                                          c.experts));
  }
}

// A loss on what is not there.
void HmmOptions::check_dense() const {
  for (const char* flag :
       {"--shared-hidden", "--balance-loss", "--z-loss", "--importance-loss", "--load-loss",
        "--diversity-loss", "--orthogonality-loss", "--variance-loss"}) {
    if (options_.source(flag) == OptionSource::command_line) {
      options_.refuse(flag, "got one with --method dense, expected a method with experts");
    }
  }
}

void HmmOptions::check_splits() const {
  const HmmConfig& c = config_;
  if (!c.grows()) return;
  const bool softmax = *c.router == "topk" || *c.router == "topp";
  if (c.mass.preserve_function && *c.policy != "dynmoe" && !softmax) {
    options_.refuse("--preserve-function",
                    fmt::format("got on with router {}, expected topk or topp, whose softmax it is "
                                "made for",
                                *c.router));
  }
  const int64_t splits = c.max_experts - c.experts, steps = c.mass.phase_end - c.mass.phase_begin;
  if (*c.policy == "random" && splits > steps) {
    options_.refuse("--policy", fmt::format("got random with {} splits in a phase of {} steps, "
                                            "expected a step for each; see --phase-end",
                                            splits, steps));
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
  options.model.vocabulary = vocabulary;
  options.model.context_length = config.seq;
  options.model.features = config.d_model;
  options.model.heads = config.heads;
  options.model.layers = config.layers;
  options.model.dropout = config.dropout;
  if (config.dense()) {
    options.model.dense_hidden = *config.hidden;
  } else {
    options.model.moe = moe_options(config);
  }
  options.precision = parse_precision(config.precision);
  options.device = parse_device(config.device);
  options.seed = static_cast<uint64_t>(config.seed);
  options.schedule = {parse_schedule(config.schedule), config.lr, config.steps, config.lr_warmup};
  options.weight_decay = config.weight_decay;
  options.clip = config.clip;
  options.losses = router_losses(config);
  options.policy = policy_options(config);
  options.gradient_noise = config.gradient_noise;
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
