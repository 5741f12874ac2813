// The exact Bayes floor of next-token prediction on a GINC corpus: no model can do better in
// expectation.
//
// The corpus is a uniform mixture of known hidden Markov models, so P(x_t | x_<t) follows from the
// forward algorithm over the joint posterior of (concept, state):
//   alpha_0(c, i) = start[c, i] / C on the states i that emit x_0
//   alpha_t(c, j) = sum_i alpha_{t-1}(c, i) P_c(j | i) on the states j that emit x_t
//   P(x_t | x_<t) = sum alpha_t / sum alpha_{t-1}
// Losses are means of -ln P over positions 1 .. length - 1 of every document, in nats, in float64.
// All throw Error when a document's tokens are impossible under the models, or the documents hold
// fewer than two tokens. Bitwise the same for any thread count.
#pragma once

#include <array>

#include "tools/hmm/corpus.h"

namespace offshoot {

// Every position given all its predecessors in the document.
double exact_floor(const HmmFamily& hmm, const Documents& documents);

// Every position given its last `known_tokens` >= 1 predecessors (or all, where there are fewer):
// the filter restarts from the start distribution at t - known_tokens. That is near, not exactly,
// Bayes-optimal, as the position in the document tells a little more than the start distribution.
double truncated_floor(const HmmFamily& hmm, const Documents& documents, int64_t known_tokens);

struct Floor {
  double exact;
  std::array<double, 3> last;  // given the last 1, 2, 3 tokens
};
Floor floor_of(const Corpus& corpus);  // of its test documents

}  // namespace offshoot
