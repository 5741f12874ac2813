#include "tools/hmm/data.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

std::vector<uint8_t> first_columns(const std::vector<uint8_t>& table, int64_t columns,
                                   int64_t kept) {
  std::vector<uint8_t> out;
  for (auto row = table.begin(); row != table.end(); row += columns) {
    out.insert(out.end(), row, row + kept);
  }
  return out;
}

// The first `length` tokens of each document.
Documents cut(const Documents& documents, int64_t length) {
  if (documents.length <= length) return documents;
  return {documents.count,
          length,
          first_columns(documents.tokens, documents.length, length),
          first_columns(documents.entity, documents.length, length),
          first_columns(documents.property, documents.length, length),
          documents.concepts};
}

}  // namespace

HmmData load_data(const HmmConfig& config) {
  HmmData data;
  if (config.corpus) {
    data.corpus = load_corpus(*config.corpus);
    data.source = std::filesystem::absolute(*config.corpus).lexically_normal();
    if (data.corpus.train.length <= config.seq) {
      fail("corpus", "{}: got documents of {} tokens, expected at least --seq + 1 = {}",
           *config.corpus, data.corpus.train.length, config.seq + 1);
    }
  } else {
    data.corpus = generate_corpus(ginc_options(config));
  }
  data.hash = hash_of(data.corpus);
  if (config.corpus_hash && *config.corpus_hash != data.hash) {
    fail("corpus", "{}: got the corpus {}, expected {}",
         config.corpus ? data.source : "generated from the configuration", data.hash,
         *config.corpus_hash);
  }
  if (config.save_corpus) save_corpus(*config.save_corpus, data.corpus);
  data.corpus.test = cut(data.corpus.test, config.seq + 1);
  return data;
}

BatchSource::BatchSource(const Documents& documents, int64_t batch, int64_t seq, uint64_t seed)
    : documents_(documents),
      batch_(batch),
      sampler_(std::vector<int64_t>(static_cast<size_t>(documents.count), documents.length),
               seq + 1, seed) {}

Tensor BatchSource::next() {
  const int64_t length = sampler_.length();
  Tensor tokens({batch_, length}, DType::i32);
  for (int64_t b = 0; b < batch_; ++b) {
    const Window window = sampler_.next();
    const auto text = documents_.tokens_of(window.document);
    std::copy_n(text.begin() + window.start, length, tokens.data<int32_t>() + b * length);
  }
  return tokens;
}

}  // namespace offshoot
