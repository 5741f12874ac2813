#include "tools/hmm/floor.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/error.h"
#include "engine/parallel.h"
#include "tools/hmm/ginc.h"

namespace offshoot {
namespace {

size_t at(int64_t index) { return static_cast<size_t>(index); }

// 2 concepts of 2 entities and 3 properties, over 3 tokens, so that several states emit the same.
GincOptions tiny_options() {
  GincOptions options;
  options.entities = 2;
  options.properties = 3;
  options.symbols = 3;
  options.hmms = 4;
  options.entity_self = 0.3;
  options.start_temperature = 0.4;
  options.transition_temperature = 0.5;
  options.prior_values = true;
  options.train_documents = 1;
  options.train_length = 2;
  options.test_documents = 6;
  options.test_length = 6;
  return options;
}

// P(tokens, path so far ends in `state`), summed over all paths, without any filter.
double paths(const HmmFamily& hmm, int64_t c, std::span<const uint8_t> tokens, int64_t state) {
  if (hmm.token(state) != tokens[0]) return 0;
  if (tokens.size() == 1) return 1;
  double sum = 0;
  for (int64_t next = 0; next < hmm.states(); ++next) {
    sum += hmm.entity_row(c, state / hmm.properties)[at(next / hmm.properties)] *
           hmm.property_row(c, state % hmm.properties)[at(next % hmm.properties)] *
           paths(hmm, c, tokens.subspan(1), next);
  }
  return sum;
}

double probability(const HmmFamily& hmm, std::span<const uint8_t> tokens) {
  double sum = 0;
  for (int64_t c = 0; c < hmm.count; ++c) {
    for (int64_t state = 0; state < hmm.states(); ++state) {
      sum += hmm.start_of(c)[at(state)] * paths(hmm, c, tokens, state);
    }
  }
  return sum / static_cast<double>(hmm.count);
}

double brute_force(const HmmFamily& hmm, const Documents& documents, int64_t known_tokens) {
  double loss = 0;
  for (int64_t j = 0; j < documents.count; ++j) {
    const auto tokens = documents.tokens_of(j);
    for (int64_t t = 1; t < documents.length; ++t) {
      const int64_t first = std::max<int64_t>(0, t - known_tokens);
      const auto context = tokens.subspan(at(first), at(t - first));
      loss -= std::log(probability(hmm, tokens.subspan(at(first), at(t - first + 1))) /
                       probability(hmm, context));
    }
  }
  return loss / static_cast<double>(documents.count * (documents.length - 1));
}

TEST(Floor, EqualsTheSumOverAllPaths) {
  const Corpus corpus = generate_corpus(tiny_options());
  EXPECT_NEAR(exact_floor(corpus.hmm, corpus.test), brute_force(corpus.hmm, corpus.test, 99),
              1e-13);
  for (int64_t known = 1; known <= 3; ++known) {
    EXPECT_NEAR(truncated_floor(corpus.hmm, corpus.test, known),
                brute_force(corpus.hmm, corpus.test, known), 1e-13);
  }
}

TEST(Floor, TruncatedIsExactOnceEverythingIsKnown) {
  const Corpus corpus = generate_corpus(tiny_options());
  EXPECT_EQ(truncated_floor(corpus.hmm, corpus.test, 5), exact_floor(corpus.hmm, corpus.test));
}

TEST(Floor, FallsAsMoreIsKnown) {
  GincOptions options;
  options.test_documents = 64;
  const Floor floor = floor_of(generate_corpus(options));
  EXPECT_LT(floor.last[0], std::log(50.0));
  EXPECT_LT(floor.last[1], floor.last[0] - 0.3);
  EXPECT_LT(floor.last[2], floor.last[1] - 0.1);
  EXPECT_LT(floor.exact, floor.last[2] - 0.1);
  EXPECT_GT(floor.exact, 1.0);
}

TEST(Floor, DoesNotDependOnTheThreadCount) {
  const Corpus corpus = generate_corpus(tiny_options());
  const int threads = num_threads();
  set_num_threads(1);
  const double alone = exact_floor(corpus.hmm, corpus.test);
  set_num_threads(3);
  EXPECT_EQ(exact_floor(corpus.hmm, corpus.test), alone);
  set_num_threads(threads);
}

TEST(Floor, RefusesDocumentsThatItsModelsCannotEmit) {
  Corpus corpus = generate_corpus(tiny_options());
  EXPECT_THROW(truncated_floor(corpus.hmm, corpus.test, 0), Error);
  corpus.test.tokens[9] = 77;
  EXPECT_THROW(exact_floor(corpus.hmm, corpus.test), Error);
  EXPECT_THROW(truncated_floor(corpus.hmm, corpus.test, 1), Error);
  Documents single{2, 1, {0, 0}, {0, 0}, {0, 0}, {0, 0}};
  EXPECT_THROW(exact_floor(corpus.hmm, single), Error);
}

}  // namespace
}  // namespace offshoot
