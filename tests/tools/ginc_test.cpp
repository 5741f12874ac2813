#include "tools/hmm/ginc.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/error.h"
#include "engine/parallel.h"

namespace offshoot {
namespace {

size_t at(int64_t index) { return static_cast<size_t>(index); }

// Pearson's statistic of counts against probabilities, cells of less than 5 expected left out,
// compared with its mean plus five standard deviations.
void expect_distributed(const std::vector<double>& counts, std::span<const double> probabilities) {
  double total = 0;
  for (const double count : counts) total += count;
  double statistic = 0, cells = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = total * probabilities[i];
    if (probabilities[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "cell " << i;
    }
    if (expected < 5) continue;
    statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
    cells += 1;
  }
  ASSERT_GE(total, 100);
  EXPECT_LT(statistic, cells + 5 * std::sqrt(2 * cells) + 5) << cells << " cells, " << total;
}

// 3 entities, 4 properties, 2 concepts; start and transitions far from uniform.
GincOptions small_options() {
  GincOptions options;
  options.entities = 3;
  options.properties = 4;
  options.symbols = 7;
  options.hmms = 4;
  options.start_temperature = 0.3;
  options.entity_self = 0.4;
  options.train_documents = 40;
  options.train_length = 500;
  options.test_documents = 3000;
  options.test_length = 2;
  return options;
}

TEST(GincFamily, HasTheStatedDistributions) {
  const GincOptions options;
  const HmmFamily family = draw_family(options);
  EXPECT_EQ(family.count, 10);
  EXPECT_EQ(family.states(), 100);
  EXPECT_EQ(family.entity_transition.size(), 100u);
  EXPECT_EQ(family.property_transition.size(), 1000u);
  for (int64_t h = 0; h < family.count; ++h) {
    for (int64_t to = 0; to < 10; ++to) {
      double row = 0, column = 0;
      for (int64_t from = 0; from < 10; ++from) {
        row += family.property_row(h, to)[at(from)];
        column += family.property_row(h, from)[at(to)];
      }
      EXPECT_NEAR(row, 1, 1e-12);
      EXPECT_NEAR(column, 1, 1e-12);
    }
    if (h > 0) {
      EXPECT_FALSE(std::ranges::equal(family.start_of(h), family.start_of(0)));
      EXPECT_FALSE(std::ranges::equal(family.property_row(h, 1), family.property_row(0, 1)));
    }
    const auto start = family.start_of(h);
    const auto [least, most] = std::minmax_element(start.begin(), start.end());
    EXPECT_LE(*most / *least, std::exp(0.1) + 1e-12);
    EXPECT_GT(*most / *least, std::exp(0.08));
  }
  for (int64_t v = 0; v < 10; ++v) {
    double row = 0, column = 0;
    for (int64_t w = 0; w < 10; ++w) {
      row += family.entity_row(0, v)[at(w)];
      column += family.entity_row(0, w)[at(v)];
    }
    EXPECT_NEAR(row, 1, 1e-12);
    EXPECT_NEAR(column, 1, 1e-12);
    EXPECT_GE(family.entity_row(0, v)[at(v)], 0.9);
    EXPECT_EQ(family.token(v * 10), 0);
    for (int64_t s = 1; s < 10; ++s) {
      EXPECT_GE(family.token(v * 10 + s), 1);
      EXPECT_LT(family.token(v * 10 + s), 50);
    }
  }
  EXPECT_GT(std::set(family.emission.begin(), family.emission.end()).size(), 30u);
}

// Weights become equal at a high temperature, and one of them 1 at a low one.
TEST(GincFamily, MixesAsManyPermutationsAsTheMatrixHasRows) {
  GincOptions options;
  options.properties = 7;
  options.transition_temperature = 1e9;
  double fractional = 0;
  for (const double p : draw_family(options).property_transition) {
    EXPECT_NEAR(p * 7, std::round(p * 7), 1e-6);
    fractional += p > 0.01 && p < 0.99;
  }
  EXPECT_GT(fractional, 100);
  options.transition_temperature = 1e-6;
  for (const double p : draw_family(options).property_transition) {
    EXPECT_NEAR(p, std::round(p), 1e-6);
  }
}

TEST(GincFamily, SharesEntityTransitionsUnlessAPriorIsAsked) {
  GincOptions options;
  options.prior_values = true;
  const HmmFamily family = draw_family(options);
  ASSERT_TRUE(family.entities_differ);
  ASSERT_EQ(family.entity_transition.size(), 1000u);
  EXPECT_FALSE(std::ranges::equal(family.entity_row(0, 3), family.entity_row(1, 3)));
  EXPECT_GE(family.entity_row(9, 3)[3], 0.9);
}

TEST(GincFamily, DoesNotDependOnItsSize) {
  GincOptions few, many;
  few.hmms = 4;
  EXPECT_EQ(draw_family(few), draw_family(many).slice(0, 4));
  GincOptions other;
  other.hmm_seed = 1112;
  EXPECT_NE(draw_family(other).emission, draw_family(many).emission);
  EXPECT_NE(draw_family(other).start, draw_family(many).start);
  EXPECT_NE(draw_family(other).property_transition, draw_family(many).property_transition);
  EXPECT_NE(draw_family(other).entity_transition, draw_family(many).entity_transition);
}

TEST(GincCorpus, LabelsTheStateThatEmittedEachToken) {
  const Corpus corpus = generate_corpus(GincOptions{});
  EXPECT_NO_THROW(check_corpus("corpus", corpus));
  EXPECT_EQ(corpus.train.count, 20);
  EXPECT_EQ(corpus.train.length, 10240);
  EXPECT_EQ(corpus.test.count, 512);
  EXPECT_EQ(corpus.test.length, 65);
  EXPECT_EQ(corpus.hmm.count, 5);
  EXPECT_EQ(corpus.n_symbols, 50);
  for (const Documents* documents : {&corpus.train, &corpus.test}) {
    int64_t delimiters = 0;
    for (size_t i = 0; i < documents->tokens.size(); ++i) {
      ASSERT_EQ(documents->tokens[i],
                corpus.hmm.token(documents->entity[i] * 10 + documents->property[i]));
      ASSERT_EQ(documents->tokens[i] == 0, documents->property[i] == 0);
      delimiters += documents->tokens[i] == 0;
    }
    // Transitions are doubly stochastic, so every property has the same share in the long run.
    EXPECT_NEAR(static_cast<double>(delimiters) / static_cast<double>(documents->tokens.size()),
                0.1, 0.01);
  }
}

TEST(GincCorpus, FollowsTheTransitionsOfItsConcept) {
  const GincOptions options = small_options();
  const Corpus corpus = generate_corpus(options);
  const HmmFamily& hmm = corpus.hmm;
  for (int64_t c = 0; c < hmm.count; ++c) {
    for (int64_t from = 0; from < hmm.states(); ++from) {
      std::vector<double> counts(at(hmm.states())), expected;
      for (int64_t place = 0; place < corpus.train.count * corpus.train.length; ++place) {
        const auto state = [&](int64_t i) {
          return corpus.train.entity[at(i)] * 4 + corpus.train.property[at(i)];
        };
        if (corpus.train.concepts[at(place / 500)] != c || place % 500 == 499) continue;
        if (state(place) == from) ++counts[at(state(place + 1))];
      }
      for (const double entity : hmm.entity_row(c, from / 4)) {
        for (const double property : hmm.property_row(c, from % 4)) {
          expected.push_back(entity * property);
        }
      }
      expect_distributed(counts, expected);
    }
  }
}

TEST(GincCorpus, StartsAndDrawsConceptsAsStated) {
  const GincOptions options = small_options();
  const Corpus corpus = generate_corpus(options);
  std::vector<double> concepts(2);
  std::vector<std::vector<double>> starts(2, std::vector<double>(12));
  for (int64_t j = 0; j < corpus.test.count; ++j) {
    const auto c = corpus.test.concepts[at(j)];
    ++concepts.at(c);
    ++starts[c][at(corpus.test.entity[at(j * 2)] * 4 + corpus.test.property[at(j * 2)])];
  }
  expect_distributed(concepts, std::vector{0.5, 0.5});
  for (size_t c = 0; c < 2; ++c) {
    expect_distributed(starts[c], corpus.hmm.start_of(static_cast<int64_t>(c)));
  }
}

TEST(GincCorpus, DrawsADocumentWhateverStandsBeforeIt) {
  GincOptions few = small_options(), many = small_options();
  few.train_documents = 3;
  few.test_documents = 5;
  const Corpus small = generate_corpus(few), large = generate_corpus(many);
  for (int64_t j = 0; j < 3; ++j) {
    EXPECT_TRUE(std::ranges::equal(small.train.tokens_of(j), large.train.tokens_of(j)));
    EXPECT_EQ(small.train.concepts[at(j)], large.train.concepts[at(j)]);
  }
  for (int64_t j = 0; j < 5; ++j) {
    EXPECT_TRUE(std::ranges::equal(small.test.tokens_of(j), large.test.tokens_of(j)));
  }
  std::set<std::vector<uint8_t>> different;
  for (int64_t j = 0; j < large.train.count; ++j) {
    const auto tokens = large.train.tokens_of(j);
    different.insert({tokens.begin(), tokens.end()});
  }
  EXPECT_EQ(different.size(), 40u);
}

TEST(GincCorpus, DrawsTheTestFromHmmSeedAndTheTrainingFromSeed) {
  GincOptions options = small_options();
  const Corpus corpus = generate_corpus(options);
  EXPECT_EQ(generate_corpus(options), corpus);
  options.seed = 1;
  const Corpus seeded = generate_corpus(options);
  EXPECT_EQ(seeded.hmm, corpus.hmm);
  EXPECT_EQ(seeded.test, corpus.test);
  EXPECT_NE(seeded.train.tokens, corpus.train.tokens);
  EXPECT_EQ(seeded.seed, 1);
  options = small_options();
  options.hmm_seed = 7;
  const Corpus other = generate_corpus(options);
  EXPECT_NE(other.hmm, corpus.hmm);
  EXPECT_NE(other.test.tokens, corpus.test.tokens);
}

TEST(GincCorpus, IsTheSameForAnyThreadCount) {
  const int threads = num_threads();
  set_num_threads(1);
  const Corpus alone = generate_corpus(small_options());
  set_num_threads(3);
  EXPECT_EQ(generate_corpus(small_options()), alone);
  set_num_threads(threads);
}

TEST(GincCorpus, EndsTrainingDocumentsWithTheEndOfTextWhenAsked) {
  GincOptions options = small_options();
  const Corpus plain = generate_corpus(options);
  options.end_of_text = true;
  const Corpus ended = generate_corpus(options);
  EXPECT_NO_THROW(check_corpus("corpus", ended));
  EXPECT_EQ(ended.n_symbols, 8);
  EXPECT_EQ(ended.test, plain.test);
  for (int64_t j = 0; j < ended.train.count; ++j) {
    EXPECT_EQ(ended.train.tokens_of(j).back(), 7);
    EXPECT_TRUE(std::ranges::equal(ended.train.tokens_of(j).first(499),
                                   plain.train.tokens_of(j).first(499)));
  }
}

TEST(GincOptions, AreChecked) {
  const auto refuses = [](auto change) {
    GincOptions options = small_options();
    change(options);
    EXPECT_THROW(generate_corpus(options), Error);
  };
  refuses([](GincOptions& o) { o.entities = 0; });
  refuses([](GincOptions& o) { o.properties = 1; });
  refuses([](GincOptions& o) { o.symbols = 1; });
  refuses([](GincOptions& o) { o.symbols = 257; });
  refuses([](GincOptions& o) { o.symbols = 256, o.end_of_text = true; });
  refuses([](GincOptions& o) { o.hmms = 1; });
  refuses([](GincOptions& o) { o.transition_temperature = 0; });
  refuses([](GincOptions& o) { o.start_temperature = std::nan(""); });
  refuses([](GincOptions& o) { o.entity_self = 1.1; });
  refuses([](GincOptions& o) { o.train_documents = 0; });
  refuses([](GincOptions& o) { o.test_length = 1; });
}

}  // namespace
}  // namespace offshoot
