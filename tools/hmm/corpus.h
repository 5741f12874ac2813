// A GINC corpus: labelled documents and the hidden Markov models that emitted them.
//
// Source: Xie, Raghunathan, Liang, Ma, "An Explanation of In-context Learning as Implicit Bayesian
// Inference", ICLR 2022, arXiv 2111.02080, section 4.
// A hidden state is a pair (entity, property), number entity * properties + property. Entity and
// property move independently:
//   P(v', s' | v, s) = entity_transition[v, v'] * property_transition[s, s']
// and a state emits one token for certain. Property 0 emits the delimiter, token 0.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace offshoot {

// Documents of one length. Row-major; labels are those of the state that emitted the token.
struct Documents {
  int64_t count = 0;
  int64_t length = 0;             // tokens in each
  std::vector<uint8_t> tokens;    // [count, length]
  std::vector<uint8_t> entity;    // [count, length]
  std::vector<uint8_t> property;  // [count, length]
  std::vector<uint8_t> concepts;  // [count]: the model that emitted the document

  std::span<const uint8_t> tokens_of(int64_t document) const;
  bool operator==(const Documents&) const = default;
};

// Hidden Markov models over the same states. Row-major, float64; each row of a transition matrix
// and each start distribution sums to 1.
struct HmmFamily {
  int64_t count = 0;
  int64_t entities = 0;
  int64_t properties = 0;
  std::vector<double> start;                // [count, entities * properties]
  std::vector<double> property_transition;  // [count, from, to]
  std::vector<double> entity_transition;    // [from, to]; [count, from, to] if entities_differ
  bool entities_differ = false;             // between the models
  std::vector<uint8_t> emission;            // [entities, properties], of all models

  int64_t states() const { return entities * properties; }
  uint8_t token(int64_t state) const { return emission[static_cast<size_t>(state)]; }
  std::span<const double> start_of(int64_t hmm) const;
  std::span<const double> property_row(int64_t hmm, int64_t from) const;
  std::span<const double> entity_row(int64_t hmm, int64_t from) const;

  // The models [first, first + number). Throws Error when there are not as many.
  HmmFamily slice(int64_t first, int64_t number) const;
  bool operator==(const HmmFamily&) const = default;
};

struct Corpus {
  Documents train;
  Documents test;
  HmmFamily hmm;          // the concepts, in the order of `Documents::concepts`
  int64_t n_symbols = 0;  // size of the vocabulary, the end of text included where there is one
  int64_t seed = 0;       // that drew the training documents

  bool operator==(const Corpus&) const = default;
};

// Throws Error, naming `where` and the array, when a size, a label, a token or a distribution is
// not what the comments above say.
void check_corpus(std::string_view where, const Corpus& corpus);

// HDF5: groups train and test with tokens, entity, property [documents, length] u8 and concept
// [documents] u8; group hmm with start [concept, state], property_transition [concept, from, to],
// entity_transition [from, to] or [concept, from, to] f64, emission [entity, property] u8;
// attributes format = "ginc-corpus", n_symbols, seed.
// Both throw Error, naming the file, the dataset and what was expected of it: unreadable, truncated
// or foreign files, missing, wrongly shaped or inconsistent datasets; a full disk. A file that
// could not be written whole does not exist.
Corpus load_corpus(const std::string& path);
void save_corpus(const std::string& path, const Corpus& corpus);

// 32 hexadecimal digits over everything in the corpus, the same for equal corpora whatever file
// they came from.
std::string hash_of(const Corpus& corpus);

}  // namespace offshoot
