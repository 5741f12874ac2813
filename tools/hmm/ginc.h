// GINC, the generative in-context learning data set: a family of hidden Markov models and text
// sampled from it (Xie et al., ICLR 2022, arXiv 2111.02080, section 4 and appendix F; defaults as
// in its published data set, sizes as in MASS, arXiv 2512.19765).
//
// Random permutation mixture of size n at temperature t, a doubly stochastic matrix:
//   sum_i w_i P_i, i = 1..n, with uniform random permutations P_i and w = softmax((u - 0.5) / t),
//   u uniform in [0, 1)^n.
// property_transition  one mixture a model, size `properties`
// entity_transition    self I + (1 - self) mixture of size `entities`; one for all models, or one
//                      a model with `prior_values`
// start                softmax((u - 0.5) / start_temperature) over all states, one a model
// emission             uniform in [1, symbols) where property > 0, else 0, the delimiter
//
// Everything is counter-based: model h is the same in a family of any number of models, and
// document j the same in a corpus of any number of documents.
#pragma once

#include "engine/random.h"
#include "tools/hmm/corpus.h"

namespace offshoot {

struct GincOptions {
  int64_t entities = 10;
  int64_t properties = 10;
  int64_t symbols = 50;  // tokens, the delimiter included
  int64_t hmms = 10;     // the first half are the concepts, the others are held out
  double transition_temperature = 0.1;
  double start_temperature = 10;
  double entity_self = 0.9;   // weight of the identity in entity_transition
  bool prior_values = false;  // an entity_transition for each model
  bool end_of_text = false;   // the last token of a training document becomes token `symbols`
  int64_t train_documents = 20;
  int64_t train_length = 10240;
  int64_t test_documents = 512;
  int64_t test_length = 65;
  uint64_t hmm_seed = 1111;  // draws the models and the test documents
  uint64_t seed = 0;         // draws the training documents
};

// All `hmms` models, concepts first. Throws Error on options out of range.
HmmFamily draw_family(const GincOptions& options);

// Number of concepts: the first half of the models.
inline int64_t concepts_of(const GincOptions& options) { return options.hmms / 2; }

// Training and test documents, each of a concept drawn uniformly. Throws as draw_family.
Corpus generate_corpus(const GincOptions& options);

// An index drawn with the given probabilities, which sum to 1.
int64_t draw_index(std::span<const double> probabilities, Random& random);

// The state after `state` in model `hmm`.
int64_t draw_next_state(const HmmFamily& family, int64_t hmm, int64_t state, Random& random);

}  // namespace offshoot
