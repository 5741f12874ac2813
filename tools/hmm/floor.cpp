#include "tools/hmm/floor.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/parallel.h"

namespace offshoot {
namespace {

constexpr std::string_view kWhere = "floor";

size_t at(int64_t index) { return static_cast<size_t>(index); }

// The states that emit each token, in order.
std::vector<std::vector<int64_t>> emitters_of(const HmmFamily& hmm) {
  std::vector<std::vector<int64_t>> emitters(256);
  for (int64_t state = 0; state < hmm.states(); ++state) {
    emitters[hmm.token(state)].push_back(state);
  }
  return emitters;
}

// The forward filter, on the states that emit the last token: all others have alpha 0.
class Filter {
 public:
  Filter(const HmmFamily& hmm, const std::vector<std::vector<int64_t>>& emitters)
      : hmm_(hmm), emitters_(emitters) {}

  // Forgets everything, then sees the first token. Returns its probability.
  double restart(uint8_t token) {
    states_ = &emitters_[token];
    alpha_.resize(at(hmm_.count) * states_->size());
    size_t place = 0;
    for (int64_t c = 0; c < hmm_.count; ++c) {
      for (const int64_t state : *states_) {
        alpha_[place++] = hmm_.start_of(c)[at(state)] / static_cast<double>(hmm_.count);
      }
    }
    return normalise();
  }

  // Sees one more token. Returns its probability given those before; 0 when it is impossible.
  double see(uint8_t token) {
    const std::vector<int64_t>& next = emitters_[token];
    next_alpha_.assign(at(hmm_.count) * next.size(), 0.0);
    for (int64_t c = 0; c < hmm_.count; ++c) {
      const double* alpha = alpha_.data() + at(c) * states_->size();
      double* next_alpha = next_alpha_.data() + at(c) * next.size();
      for (size_t i = 0; i < states_->size(); ++i) {
        const auto entity = hmm_.entity_row(c, (*states_)[i] / hmm_.properties);
        const auto property = hmm_.property_row(c, (*states_)[i] % hmm_.properties);
        for (size_t j = 0; j < next.size(); ++j) {
          next_alpha[j] += alpha[i] * entity[at(next[j] / hmm_.properties)] *
                           property[at(next[j] % hmm_.properties)];
        }
      }
    }
    states_ = &next;
    alpha_.swap(next_alpha_);
    return normalise();
  }

 private:
  // alpha is kept with sum 1, so that long documents do not underflow.
  double normalise() {
    double sum = 0;
    for (const double alpha : alpha_) sum += alpha;
    if (sum > 0) {
      for (double& alpha : alpha_) alpha /= sum;
    }
    return sum;
  }

  const HmmFamily& hmm_;
  const std::vector<std::vector<int64_t>>& emitters_;
  const std::vector<int64_t>* states_ = nullptr;
  std::vector<double> alpha_, next_alpha_;  // [concept, state of states_]
};

double checked(double probability, int64_t document, int64_t position, uint8_t token) {
  if (!(probability > 0)) {
    fail(kWhere, "document {}, position {}: got token {}, which its models cannot emit there",
         document, position, token);
  }
  return probability;
}

double document_loss(Filter& filter, std::span<const uint8_t> tokens, int64_t document) {
  checked(filter.restart(tokens[0]), document, 0, tokens[0]);
  double loss = 0;
  for (size_t t = 1; t < tokens.size(); ++t) {
    const auto position = static_cast<int64_t>(t);
    loss -= std::log(checked(filter.see(tokens[t]), document, position, tokens[t]));
  }
  return loss;
}

double truncated_document_loss(Filter& filter, std::span<const uint8_t> tokens, int64_t document,
                               int64_t known_tokens) {
  double loss = 0;
  for (int64_t t = 1; t < static_cast<int64_t>(tokens.size()); ++t) {
    const int64_t first = std::max<int64_t>(0, t - known_tokens);
    double probability = filter.restart(tokens[at(first)]);
    for (int64_t seen = first + 1; seen <= t; ++seen) {
      checked(probability, document, seen - 1, tokens[at(seen - 1)]);
      probability = filter.see(tokens[at(seen)]);
    }
    loss -= std::log(checked(probability, document, t, tokens[at(t)]));
  }
  return loss;
}

// loss(filter, tokens, document) is the sum over a document.
template <class Loss>
double mean_loss(const HmmFamily& hmm, const Documents& documents, Loss loss) {
  if (documents.count < 1 || documents.length < 2) {
    fail(kWhere, "documents: got {} of {} tokens, expected at least 1 of 2", documents.count,
         documents.length);
  }
  const auto emitters = emitters_of(hmm);
  std::vector<double> losses(at(documents.count));
  parallel_for(documents.count, 8, [&](int64_t first, int64_t last) {
    Filter filter(hmm, emitters);
    for (int64_t document = first; document < last; ++document) {
      losses[at(document)] = loss(filter, documents.tokens_of(document), document);
    }
  });
  double sum = 0;
  for (const double document : losses) sum += document;
  return sum / static_cast<double>(documents.count * (documents.length - 1));
}

}  // namespace

double exact_floor(const HmmFamily& hmm, const Documents& documents) {
  return mean_loss(hmm, documents, document_loss);
}

double truncated_floor(const HmmFamily& hmm, const Documents& documents, int64_t known_tokens) {
  if (known_tokens < 1) {
    fail(kWhere, "known tokens: got {}, expected at least 1", known_tokens);
  }
  return mean_loss(hmm, documents, [=](Filter& filter, auto tokens, int64_t document) {
    return truncated_document_loss(filter, tokens, document, known_tokens);
  });
}

Floor floor_of(const Corpus& corpus) {
  Floor floor{exact_floor(corpus.hmm, corpus.test), {}};
  for (size_t i = 0; i < floor.last.size(); ++i) {
    floor.last[i] = truncated_floor(corpus.hmm, corpus.test, static_cast<int64_t>(i) + 1);
  }
  return floor;
}

}  // namespace offshoot
