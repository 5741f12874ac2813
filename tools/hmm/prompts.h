// In-context prompts: does a model that has read examples of one pattern continue the next one as
// the hidden Markov model behind them would? (Xie et al., ICLR 2022, arXiv 2111.02080, section 4.)
//
// A prompt is `examples` examples of `length` tokens, each followed by a delimiter, and the first
// length - 1 tokens of one more: examples * (length + 1) + length - 1 tokens. What is asked is the
// next token. A model h is drawn uniformly for each prompt; then
//   in distribution      one property (not 0) a prompt and a uniform entity an example give the
//                        example's first state; the chain of h gives the others;
//   out of distribution  one uniform entity an example, a uniform property (not 0) a token.
// The label is the likeliest next token under h given the last example's tokens alone, started
// uniformly over the entities at the prompt's property (in distribution) or over all states (out of
// distribution); the lowest among equals. An out-of-distribution prefix that h cannot emit has no
// label: such prompts are left out and counted.
#pragma once

#include <functional>

#include "engine/random.h"
#include "tools/hmm/corpus.h"

namespace offshoot {

enum class PromptKind { in_distribution, out_of_distribution };
std::string_view to_string(PromptKind kind);

struct PromptOptions {
  std::vector<int64_t> lengths{3, 5, 8, 10};                 // each at least 2
  std::vector<int64_t> examples{0, 1, 2, 4, 8, 16, 32, 64};  // each at least 0
  int64_t prompts = 100;                                     // drawn for each pair of the two
  int64_t context = 64;                                      // tokens that the model takes
  uint64_t seed = 1111;
};

struct Prompt {
  std::vector<uint8_t> tokens;
  int64_t label;  // -1: the model cannot emit the last example's tokens
  int64_t hmm;
};

// Tokens in a prompt.
inline int64_t prompt_tokens(int64_t length, int64_t examples) {
  return examples * (length + 1) + length - 1;
}

// A prompt of any of the models in `hmms`: the concepts for prompts in distribution, held-out
// models for those out of it. Throws Error when length < 2 or examples < 0.
Prompt draw_prompt(const HmmFamily& hmms, PromptKind kind, int64_t length, int64_t examples,
                   Random random);

// P(next token | tokens) under one model whose first state has the distribution `start` [states]:
// an element for each of 256 tokens. Empty when the model cannot emit the tokens.
std::vector<double> next_token_distribution(const HmmFamily& hmms, int64_t hmm,
                                            std::span<const double> start,
                                            std::span<const uint8_t> tokens);

// The prompts of one length and one number of examples.
struct PromptScore {
  PromptKind kind;
  int64_t length;
  int64_t examples;
  int64_t scored = 0;
  int64_t correct = 0;
  int64_t too_long = 0;    // skipped: longer than the context
  int64_t impossible = 0;  // left out: without a label

  // In [0, 1]. Throws Error when nothing was scored.
  double accuracy() const;
};

// The model under test: predicted next tokens [prompts] of `prompts` prompts of `length` tokens
// each, row-major. `length` is the same within a call and at most the context.
using PromptPredictor = std::function<std::vector<int64_t>(std::span<const uint8_t> tokens,
                                                           int64_t prompts, int64_t length)>;

// One score for each length and number of examples, lengths outermost. A function of the models,
// the options and the predictor alone: prompt j of a pair is the same for any number of prompts.
// Throws Error on options out of range and when the predictor returns another number of tokens.
std::vector<PromptScore> evaluate_prompts(const HmmFamily& hmms, PromptKind kind,
                                          const PromptOptions& options,
                                          const PromptPredictor& predict);

}  // namespace offshoot
