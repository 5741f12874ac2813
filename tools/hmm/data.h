// The corpus of a run and the batches that training draws from it.
#pragma once

#include <optional>
#include <string>

#include "engine/sampler.h"
#include "engine/tensor.h"
#include "tools/hmm/config.h"
#include "tools/hmm/corpus.h"

namespace offshoot {

struct HmmData {
  Corpus corpus;
  std::string hash;
  std::string source;  // the file it was read from, absolute; empty: generated
};

// Reads `config.corpus`, or generates; writes `config.save_corpus`. Test sequences are cut to
// config.seq + 1 tokens. Throws Error when the file is bad, its documents are too short, or its
// hash is not config.corpus_hash.
HmmData load_data(const HmmConfig& config);

// Random windows of seq + 1 tokens. The state is the number of windows drawn.
class BatchSource {
 public:
  // `documents` outlives this object.
  BatchSource(const Documents& documents, int64_t batch, int64_t seq, uint64_t seed);

  Tensor next();  // i32 [batch, seq + 1]
  int64_t position() const { return sampler_.position(); }
  void seek(int64_t position) { sampler_.seek(position); }

 private:
  const Documents& documents_;
  int64_t batch_;
  WindowSampler sampler_;
};

}  // namespace offshoot
