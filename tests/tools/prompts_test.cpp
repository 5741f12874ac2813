#include "tools/hmm/prompts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "engine/error.h"
#include "tools/hmm/ginc.h"

namespace offshoot {
namespace {

size_t at(int64_t index) { return static_cast<size_t>(index); }

constexpr auto kIn = PromptKind::in_distribution;
constexpr auto kOut = PromptKind::out_of_distribution;

// Every state emits a token of its own, so that tokens tell states. Property 0 keeps token 0.
HmmFamily telling_family(int64_t entities = 4, int64_t properties = 5) {
  GincOptions options;
  options.entities = entities;
  options.properties = properties;
  options.entity_self = 0.5;
  HmmFamily family = draw_family(options);
  for (int64_t state = 0; state < family.states(); ++state) {
    family.emission[at(state)] = static_cast<uint8_t>(state % properties == 0 ? 0 : state);
  }
  return family;
}

Random stream(int64_t number) { return Random(1, static_cast<uint64_t>(number)); }

TEST(Prompts, HaveTheStatedLengthAndDelimiters) {
  const HmmFamily family = telling_family();
  for (const PromptKind kind : {kIn, kOut}) {
    for (const int64_t length : {2, 3, 10}) {
      for (const int64_t examples : {0, 1, 7}) {
        const Prompt prompt = draw_prompt(family, kind, length, examples, stream(length));
        EXPECT_EQ(static_cast<int64_t>(prompt.tokens.size()), examples * (length + 1) + length - 1);
        for (int64_t example = 0; example < examples; ++example) {
          EXPECT_EQ(prompt.tokens[at(example * (length + 1) + length)], 0);
        }
      }
    }
  }
}

TEST(Prompts, InDistributionStartAtOnePropertyAndFollowTheChain) {
  const HmmFamily family = telling_family();
  std::set<int64_t> hmms, properties;
  for (int64_t n = 0; n < 200; ++n) {
    const Prompt prompt = draw_prompt(family, kIn, 4, 6, stream(n));
    hmms.insert(prompt.hmm);
    std::set<int64_t> starts, entities;
    for (int64_t first = 0; first < static_cast<int64_t>(prompt.tokens.size()); first += 5) {
      starts.insert(prompt.tokens[at(first)] % 5);
      entities.insert(prompt.tokens[at(first)] / 5);
      for (int64_t t = first; t < std::min<int64_t>(first + 3, 32); ++t) {
        const int64_t from = prompt.tokens[at(t)], to = prompt.tokens[at(t + 1)];
        if (from == 0 || to == 0) continue;  // the delimiter hides its entity
        EXPECT_GT(family.property_row(prompt.hmm, from % 5)[at(to % 5)], 0);
        EXPECT_GT(family.entity_row(prompt.hmm, from / 5)[at(to / 5)], 0);
      }
    }
    EXPECT_EQ(starts.size(), 1u);
    EXPECT_GT(entities.size(), 1u);
    properties.insert(*starts.begin());
  }
  EXPECT_EQ(hmms.size(), 10u);
  EXPECT_EQ(properties, (std::set<int64_t>{1, 2, 3, 4}));
}

TEST(Prompts, OutOfDistributionKeepOneEntityAndDrawEveryProperty) {
  const HmmFamily family = telling_family();
  std::vector<int64_t> properties(5), entities(4);
  for (int64_t n = 0; n < 500; ++n) {
    const Prompt prompt = draw_prompt(family, kOut, 4, 1, stream(n));
    ASSERT_EQ(prompt.tokens.size(), 8u);
    for (int64_t t = 0; t < 4; ++t) {
      EXPECT_EQ(prompt.tokens[at(t)] / 5, prompt.tokens[0] / 5);
      ++properties.at(prompt.tokens[at(t)] % 5);
    }
    ++entities.at(prompt.tokens[0] / 5);
  }
  EXPECT_EQ(properties[0], 0);
  for (int64_t s = 1; s < 5; ++s) EXPECT_NEAR(static_cast<double>(properties[at(s)]), 500, 100);
  for (const int64_t count : entities) EXPECT_NEAR(static_cast<double>(count), 125, 50);
}

// With tokens that tell states, the label is the likeliest token after the last state.
TEST(Prompts, LabelTheLikeliestNextToken) {
  const HmmFamily family = telling_family();
  int64_t labelled = 0, checked = 0;
  for (int64_t n = 0; n < 300; ++n) {
    for (const PromptKind kind : {kIn, kOut}) {
      const Prompt prompt = draw_prompt(family, kind, 3, 2, stream(n));
      const int64_t before = prompt.tokens[prompt.tokens.size() - 2];
      const int64_t last = prompt.tokens.back();
      const bool possible =
          last == 0 || (family.property_row(prompt.hmm, before % 5)[at(last % 5)] > 0 &&
                        family.entity_row(prompt.hmm, before / 5)[at(last / 5)] > 0);
      EXPECT_EQ(prompt.label >= 0, possible);
      if (prompt.label < 0 || last == 0) continue;
      std::vector<double> next(20);
      for (int64_t to = 0; to < 20; ++to) {
        next[family.token(to)] += family.entity_row(prompt.hmm, last / 5)[at(to / 5)] *
                                  family.property_row(prompt.hmm, last % 5)[at(to % 5)];
      }
      EXPECT_NEAR(next[at(prompt.label)], *std::max_element(next.begin(), next.end()), 1e-15);
      labelled += kind == kOut;
      ++checked;
    }
  }
  EXPECT_GT(labelled, 50);
  EXPECT_GT(checked - labelled, 50);
}

// Sum over all state paths; several states emit the same token here.
TEST(Prompts, NextTokenDistributionEqualsTheSumOverAllPaths) {
  GincOptions options;
  options.entities = 3;
  options.properties = 3;
  options.symbols = 3;
  options.entity_self = 0.2;
  const HmmFamily family = draw_family(options);
  const std::vector<double> start{0.3, 0.1, 0, 0.05, 0.15, 0.1, 0.1, 0.1, 0.1};
  const std::vector<uint8_t> tokens{family.token(1), family.token(5)};
  const auto transition = [&](int64_t from, int64_t to) {
    return family.entity_row(2, from / 3)[at(to / 3)] *
           family.property_row(2, from % 3)[at(to % 3)];
  };
  std::vector<double> expected(256);
  double total = 0;
  for (int64_t a = 0; a < 9; ++a) {
    for (int64_t b = 0; b < 9; ++b) {
      if (family.token(a) != tokens[0] || family.token(b) != tokens[1]) continue;
      for (int64_t c = 0; c < 9; ++c) {
        const double path = start[at(a)] * transition(a, b) * transition(b, c);
        expected[family.token(c)] += path;
        total += path;
      }
    }
  }
  ASSERT_GT(total, 0);
  const auto next = next_token_distribution(family, 2, start, tokens);
  ASSERT_EQ(next.size(), 256u);
  for (size_t token = 0; token < 256; ++token) {
    EXPECT_NEAR(next[token], expected[token] / total, 1e-14);
  }
  EXPECT_TRUE(next_token_distribution(family, 2, start, std::vector<uint8_t>{200}).empty());
}

TEST(PromptEvaluation, CountsWhatItScoresAndWhatItLeavesOut) {
  const HmmFamily family = draw_family(GincOptions{}).slice(5, 5);
  PromptOptions options;
  options.prompts = 40;
  int64_t calls = 0, impossible = 0;
  const auto scores = evaluate_prompts(
      family, kOut, options, [&](std::span<const uint8_t> tokens, int64_t prompts, int64_t length) {
        EXPECT_EQ(static_cast<int64_t>(tokens.size()), prompts * length);
        EXPECT_LE(length, 64);
        ++calls;
        return std::vector<int64_t>(at(prompts), -2);
      });
  ASSERT_EQ(scores.size(), 32u);
  int64_t fitting = 0;
  for (const PromptScore& score : scores) {
    const bool fits = score.examples * (score.length + 1) + score.length - 1 <= 64;
    fitting += fits;
    EXPECT_EQ(score.too_long, fits ? 0 : 40);
    EXPECT_EQ(score.scored + score.impossible, fits ? 40 : 0);
    EXPECT_EQ(score.correct, 0);
    impossible += score.impossible;
    if (!fits) {
      EXPECT_THROW(score.accuracy(), Error);
    }
  }
  EXPECT_EQ(calls, fitting);
  EXPECT_EQ(fitting, 5 + 5 + 4 + 4);
  EXPECT_GT(impossible, 0);
}

// A predictor that knows the model reaches 1; in distribution nothing is without a label.
TEST(PromptEvaluation, ScoresThePredictionOfTheLastToken) {
  const HmmFamily family = telling_family().slice(0, 1);
  PromptOptions options;
  options.lengths = {3};
  options.examples = {0, 2};
  options.context = 1024;
  const auto next_of = [&](uint8_t last) {
    std::vector<double> next(256);
    for (int64_t to = 0; to < 20; ++to) {
      next[family.token(to)] +=
          family.entity_row(0, last / 5)[at(to / 5)] * family.property_row(0, last % 5)[at(to % 5)];
    }
    return std::max_element(next.begin(), next.end()) - next.begin();
  };
  int64_t delimiters = 0;
  const auto scores = evaluate_prompts(
      family, kIn, options, [&](std::span<const uint8_t> tokens, int64_t prompts, int64_t length) {
        std::vector<int64_t> predicted;
        for (int64_t j = 1; j <= prompts; ++j) {
          const uint8_t last = tokens[at(j * length - 1)];
          delimiters += last == 0;
          predicted.push_back(last == 0 ? -1 : next_of(last));
        }
        return predicted;
      });
  int64_t correct = 0;
  for (const PromptScore& score : scores) {
    EXPECT_EQ(score.scored, 100);
    EXPECT_EQ(score.impossible, 0);
    EXPECT_GT(score.accuracy(), 0.3);
    correct += score.correct;
  }
  EXPECT_EQ(correct, 200 - delimiters);
}

TEST(PromptEvaluation, RepeatsAndKeepsItsFirstPromptsWhenMoreAreAsked) {
  const HmmFamily family = telling_family();
  PromptOptions options;
  options.lengths = {3};
  options.examples = {2};
  std::vector<uint8_t> few, many;
  const auto record = [](std::vector<uint8_t>& into) {
    return [&into](std::span<const uint8_t> tokens, int64_t prompts, int64_t) {
      into.assign(tokens.begin(), tokens.end());
      return std::vector<int64_t>(at(prompts), 0);
    };
  };
  options.prompts = 3;
  evaluate_prompts(family, kIn, options, record(few));
  options.prompts = 50;
  evaluate_prompts(family, kIn, options, record(many));
  ASSERT_EQ(few.size(), 30u);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin()));
  options.seed = 2;
  evaluate_prompts(family, kIn, options, record(few));
  EXPECT_NE(few, many);
}

TEST(PromptEvaluation, ChecksOptionsAndPredictor) {
  const HmmFamily family = telling_family();
  const auto predict = [](std::span<const uint8_t>, int64_t prompts, int64_t) {
    return std::vector<int64_t>(at(prompts), 0);
  };
  const auto refuses = [&](auto change) {
    PromptOptions options;
    change(options);
    EXPECT_THROW(evaluate_prompts(family, kIn, options, predict), Error);
  };
  refuses([](PromptOptions& o) { o.lengths = {3, 1}; });
  refuses([](PromptOptions& o) { o.examples = {-1}; });
  refuses([](PromptOptions& o) { o.prompts = 0; });
  refuses([](PromptOptions& o) { o.context = 0; });
  EXPECT_THROW(evaluate_prompts(family, kIn, PromptOptions{},
                                [](std::span<const uint8_t>, int64_t, int64_t) {
                                  return std::vector<int64_t>(3);
                                }),
               Error);
}

}  // namespace
}  // namespace offshoot
