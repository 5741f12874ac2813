#include "tools/hmm/prompts.h"

#include <algorithm>

#include "engine/error.h"
#include "engine/parallel.h"
#include "tools/hmm/ginc.h"

namespace offshoot {
namespace {

constexpr std::string_view kWhere = "prompts";
constexpr int64_t kTokens = 256;

size_t at(int64_t index) { return static_cast<size_t>(index); }

void check(int64_t length, int64_t examples) {
  if (length < 2) fail(kWhere, "length: got {}, expected at least 2", length);
  if (examples < 0) fail(kWhere, "examples: got {}, expected at least 0", examples);
}

void check(const PromptOptions& options) {
  if (options.prompts < 1) {
    fail(kWhere, "prompts: got {}, expected at least 1", options.prompts);
  }
  if (options.context < 1) {
    fail(kWhere, "context: got {}, expected at least 1", options.context);
  }
  for (const int64_t length : options.lengths) {
    for (const int64_t examples : options.examples) check(length, examples);
  }
}

int64_t draw_property(const HmmFamily& hmms, Random& random) {
  return 1 + random.below(hmms.properties - 1);  // never the delimiter
}

// `length` tokens of one example. `property` is the first state's, in distribution.
void append_example(std::vector<uint8_t>& tokens, const HmmFamily& hmms, int64_t hmm,
                    PromptKind kind, int64_t property, int64_t length, Random& random) {
  const int64_t entity = random.below(hmms.entities);
  int64_t state = entity * hmms.properties + property;
  for (int64_t t = 0; t < length; ++t) {
    if (kind == PromptKind::out_of_distribution) {
      state = entity * hmms.properties + draw_property(hmms, random);
    } else if (t > 0) {
      state = draw_next_state(hmms, hmm, state, random);
    }
    tokens.push_back(hmms.token(state));
  }
}

// Uniform over the entities at `property`, or over all states.
std::vector<double> label_start(const HmmFamily& hmms, PromptKind kind, int64_t property) {
  std::vector<double> start(at(hmms.states()));
  for (int64_t state = 0; state < hmms.states(); ++state) {
    if (kind == PromptKind::out_of_distribution) {
      start[at(state)] = 1 / static_cast<double>(hmms.states());
    } else if (state % hmms.properties == property) {
      start[at(state)] = 1 / static_cast<double>(hmms.entities);
    }
  }
  return start;
}

// sum_i alpha[i] P(j | i)
std::vector<double> step(const HmmFamily& hmms, int64_t hmm, const std::vector<double>& alpha) {
  std::vector<double> next(alpha.size());
  for (int64_t from = 0; from < hmms.states(); ++from) {
    if (alpha[at(from)] == 0) continue;
    const auto entity = hmms.entity_row(hmm, from / hmms.properties);
    const auto property = hmms.property_row(hmm, from % hmms.properties);
    for (int64_t to = 0; to < hmms.states(); ++to) {
      next[at(to)] +=
          alpha[at(from)] * entity[at(to / hmms.properties)] * property[at(to % hmms.properties)];
    }
  }
  return next;
}

// Draws one pair's prompts; prompt j has a stream of its own.
std::vector<Prompt> draw_prompts(const HmmFamily& hmms, PromptKind kind, int64_t length,
                                 int64_t examples, const PromptOptions& options) {
  std::vector<Prompt> prompts(at(options.prompts));
  parallel_tasks(options.prompts, [&](int64_t j) {
    const std::string name =
        fmt::format("prompts.{}.{}.{}.{}", to_string(kind), length, examples, j);
    prompts[at(j)] =
        draw_prompt(hmms, kind, length, examples, Random(options.seed, stream_of(name)));
  });
  return prompts;
}

void score(PromptScore& result, const std::vector<Prompt>& prompts,
           const PromptPredictor& predict) {
  std::vector<uint8_t> tokens;
  std::vector<int64_t> labels;
  for (const Prompt& prompt : prompts) {
    if (prompt.label < 0) {
      ++result.impossible;
      continue;
    }
    tokens.insert(tokens.end(), prompt.tokens.begin(), prompt.tokens.end());
    labels.push_back(prompt.label);
  }
  if (labels.empty()) return;
  result.scored = static_cast<int64_t>(labels.size());
  const std::vector<int64_t> predicted =
      predict(tokens, result.scored, prompt_tokens(result.length, result.examples));
  if (predicted.size() != labels.size()) {
    fail(kWhere, "predictor: got {} tokens, expected {}", predicted.size(), labels.size());
  }
  for (size_t j = 0; j < labels.size(); ++j) result.correct += predicted[j] == labels[j];
}

}  // namespace

std::string_view to_string(PromptKind kind) {
  return kind == PromptKind::in_distribution ? "in_distribution" : "out_of_distribution";
}

double PromptScore::accuracy() const {
  if (scored == 0) {
    fail(kWhere, "accuracy: got 0 prompts of {} examples of {} tokens, expected at least 1",
         examples, length);
  }
  return static_cast<double>(correct) / static_cast<double>(scored);
}

std::vector<double> next_token_distribution(const HmmFamily& hmms, int64_t hmm,
                                            std::span<const double> start,
                                            std::span<const uint8_t> tokens) {
  std::vector<double> alpha(start.begin(), start.end());
  for (const uint8_t token : tokens) {
    double sum = 0;
    for (int64_t state = 0; state < hmms.states(); ++state) {
      if (hmms.token(state) != token) alpha[at(state)] = 0;
      sum += alpha[at(state)];
    }
    if (!(sum > 0)) return {};
    for (double& value : alpha) value /= sum;
    alpha = step(hmms, hmm, alpha);
  }
  std::vector<double> next(at(kTokens));
  for (int64_t state = 0; state < hmms.states(); ++state) {
    next[hmms.token(state)] += alpha[at(state)];
  }
  return next;
}

Prompt draw_prompt(const HmmFamily& hmms, PromptKind kind, int64_t length, int64_t examples,
                   Random random) {
  check(length, examples);
  Prompt prompt{{}, -1, random.below(hmms.count)};
  const int64_t property = draw_property(hmms, random);
  for (int64_t example = 0; example <= examples; ++example) {
    const bool last = example == examples;
    append_example(prompt.tokens, hmms, prompt.hmm, kind, property, last ? length - 1 : length,
                   random);
    if (!last) prompt.tokens.push_back(hmms.token(0));
  }
  const auto prefix = std::span<const uint8_t>(prompt.tokens).last(at(length - 1));
  const std::vector<double> next =
      next_token_distribution(hmms, prompt.hmm, label_start(hmms, kind, property), prefix);
  if (!next.empty()) prompt.label = std::max_element(next.begin(), next.end()) - next.begin();
  return prompt;
}

std::vector<PromptScore> evaluate_prompts(const HmmFamily& hmms, PromptKind kind,
                                          const PromptOptions& options,
                                          const PromptPredictor& predict) {
  check(options);
  std::vector<PromptScore> scores;
  for (const int64_t length : options.lengths) {
    for (const int64_t examples : options.examples) {
      PromptScore& result = scores.emplace_back(PromptScore{kind, length, examples});
      if (prompt_tokens(length, examples) > options.context) {
        result.too_long = options.prompts;
      } else {
        score(result, draw_prompts(hmms, kind, length, examples, options), predict);
      }
    }
  }
  return scores;
}

}  // namespace offshoot
