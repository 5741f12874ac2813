#include "tools/hmm/ginc.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "engine/error.h"
#include "engine/parallel.h"

namespace offshoot {
namespace {

constexpr std::string_view kWhere = "ginc";

size_t at(int64_t index) { return static_cast<size_t>(index); }

void check(const GincOptions& options) {
  const auto at_least = [](std::string_view name, int64_t value, int64_t least) {
    if (value < least) fail(kWhere, "{}: got {}, expected at least {}", name, value, least);
  };
  at_least("entities", options.entities, 1);
  at_least("properties", options.properties, 2);
  at_least("symbols", options.symbols, 2);
  at_least("hmms", options.hmms, 2);
  at_least("train documents", options.train_documents, 1);
  at_least("train length", options.train_length, 2);
  at_least("test documents", options.test_documents, 1);
  at_least("test length", options.test_length, 2);
  // Tokens and labels are stored as bytes.
  const auto at_most = [](std::string_view name, int64_t value, int64_t most) {
    if (value > most) fail(kWhere, "{}: got {}, expected at most {}", name, value, most);
  };
  at_most("entities", options.entities, 256);
  at_most("properties", options.properties, 256);
  at_most("symbols", options.symbols, options.end_of_text ? 255 : 256);
  at_most("hmms", options.hmms, 512);
  const auto positive = [](std::string_view name, double value) {
    if (!(value > 0)) fail(kWhere, "{}: got {}, expected a positive number", name, value);
  };
  positive("transition temperature", options.transition_temperature);
  positive("start temperature", options.start_temperature);
  if (!(options.entity_self >= 0 && options.entity_self <= 1)) {
    fail(kWhere, "entity self: got {}, expected a number in [0, 1]", options.entity_self);
  }
}

// Each model, document and matrix has a stream of its own.
Random stream(uint64_t seed, std::string_view name, int64_t number) {
  return Random(seed, stream_of(fmt::format("ginc.{}.{}", name, number)));
}

// softmax((u - 0.5) / temperature)
std::vector<double> draw_weights(int64_t count, double temperature, Random& random) {
  std::vector<double> weights(at(count));
  for (double& weight : weights) weight = random.uniform();
  const double most = *std::max_element(weights.begin(), weights.end());
  double total = 0;
  for (double& weight : weights) {
    weight = std::exp((weight - most) / temperature);
    total += weight;
  }
  for (double& weight : weights) weight /= total;
  return weights;
}

std::vector<int64_t> draw_permutation(int64_t count, Random& random) {
  std::vector<int64_t> permutation(at(count));
  std::iota(permutation.begin(), permutation.end(), int64_t{0});
  for (int64_t last = count - 1; last > 0; --last) {
    std::swap(permutation[at(last)], permutation[at(random.below(last + 1))]);
  }
  return permutation;
}

// A random permutation mixture [size, size].
std::vector<double> draw_mixture(int64_t size, double temperature, Random random) {
  std::vector<double> mixture(at(size * size));
  for (const double weight : draw_weights(size, temperature, random)) {
    const std::vector<int64_t> permutation = draw_permutation(size, random);
    for (int64_t row = 0; row < size; ++row) {
      mixture[at(row * size + permutation[at(row)])] += weight;
    }
  }
  return mixture;
}

std::vector<double> draw_entity_transition(const GincOptions& options, Random random) {
  std::vector<double> matrix =
      draw_mixture(options.entities, options.transition_temperature, random);
  for (double& element : matrix) element *= 1 - options.entity_self;
  for (int64_t v = 0; v < options.entities; ++v) {
    matrix[at(v * options.entities + v)] += options.entity_self;
  }
  return matrix;
}

std::vector<uint8_t> draw_emission(const GincOptions& options, Random random) {
  std::vector<uint8_t> emission(at(options.entities * options.properties));
  for (int64_t state = 0; state < options.entities * options.properties; ++state) {
    const int64_t token = 1 + random.below(options.symbols - 1);
    emission[at(state)] = state % options.properties == 0 ? 0 : static_cast<uint8_t>(token);
  }
  return emission;
}

void append(std::vector<double>& all, const std::vector<double>& matrix) {
  all.insert(all.end(), matrix.begin(), matrix.end());
}

void sample_document(const HmmFamily& family, int64_t concepts, Random random, Documents& documents,
                     int64_t document) {
  const int64_t hmm = random.below(concepts);
  documents.concepts[at(document)] = static_cast<uint8_t>(hmm);
  int64_t state = draw_index(family.start_of(hmm), random);
  for (int64_t t = 0; t < documents.length; ++t) {
    if (t > 0) state = draw_next_state(family, hmm, state, random);
    const size_t place = at(document * documents.length + t);
    documents.tokens[place] = family.token(state);
    documents.entity[place] = static_cast<uint8_t>(state / family.properties);
    documents.property[place] = static_cast<uint8_t>(state % family.properties);
  }
}

Documents sample_documents(const HmmFamily& family, int64_t concepts, int64_t count, int64_t length,
                           uint64_t seed, std::string_view name) {
  const std::vector<uint8_t> blank(at(count * length));
  Documents documents{count, length, blank, blank, blank, std::vector<uint8_t>(at(count))};
  parallel_tasks(count, [&](int64_t document) {
    sample_document(family, concepts, stream(seed, name, document), documents, document);
  });
  return documents;
}

}  // namespace

int64_t draw_index(std::span<const double> probabilities, Random& random) {
  double left = random.uniform();
  int64_t possible = 0;  // rounding may leave a little of u after the last one
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] <= 0) continue;
    possible = static_cast<int64_t>(i);
    left -= probabilities[i];
    if (left < 0) break;
  }
  return possible;
}

int64_t draw_next_state(const HmmFamily& family, int64_t hmm, int64_t state, Random& random) {
  const int64_t entity = draw_index(family.entity_row(hmm, state / family.properties), random);
  const int64_t property = draw_index(family.property_row(hmm, state % family.properties), random);
  return entity * family.properties + property;
}

HmmFamily draw_family(const GincOptions& options) {
  check(options);
  HmmFamily family;
  family.count = options.hmms;
  family.entities = options.entities;
  family.properties = options.properties;
  family.entities_differ = options.prior_values;
  family.emission = draw_emission(options, stream(options.hmm_seed, "emission", 0));
  for (int64_t h = 0; h < options.hmms; ++h) {
    Random start = stream(options.hmm_seed, "start", h);
    append(family.start, draw_weights(family.states(), options.start_temperature, start));
    append(family.property_transition,
           draw_mixture(options.properties, options.transition_temperature,
                        stream(options.hmm_seed, "property_transition", h)));
    if (h == 0 || options.prior_values) {
      append(family.entity_transition,
             draw_entity_transition(options, stream(options.hmm_seed, "entity_transition", h)));
    }
  }
  return family;
}

Corpus generate_corpus(const GincOptions& options) {
  const HmmFamily family = draw_family(options);
  const int64_t concepts = concepts_of(options);
  Corpus corpus;
  corpus.train = sample_documents(family, concepts, options.train_documents, options.train_length,
                                  options.seed, "train");
  corpus.test = sample_documents(family, concepts, options.test_documents, options.test_length,
                                 options.hmm_seed, "test");
  corpus.hmm = family.slice(0, concepts);
  corpus.n_symbols = options.symbols + (options.end_of_text ? 1 : 0);
  corpus.seed = static_cast<int64_t>(options.seed);
  if (options.end_of_text) {
    for (int64_t document = 1; document <= options.train_documents; ++document) {
      corpus.train.tokens[at(document * options.train_length - 1)] =
          static_cast<uint8_t>(options.symbols);
    }
  }
  return corpus;
}

}  // namespace offshoot
