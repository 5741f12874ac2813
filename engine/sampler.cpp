#include "engine/sampler.h"

#include <numeric>
#include <utility>

#include "engine/error.h"
#include "engine/random.h"

namespace offshoot {

void Sampler::seek(int64_t position) {
  if (position < 0) fail("sampler", "position: got {}, expected at least 0", position);
  position_ = position;
}

IndexSampler::IndexSampler(int64_t count, uint64_t seed) : Sampler(seed), count_(count) {
  if (count < 1) fail("sampler", "count: got {}, expected at least 1", count);
}

namespace {

// Each epoch, and each window, owns a stretch of its stream far longer than it can need, so that
// it starts at a known word although below() may draw again.
constexpr uint64_t kWordsPerEpoch = uint64_t{1} << 40;
constexpr uint64_t kWordsPerWindow = uint64_t{1} << 8;

std::vector<int64_t> permutation_of(int64_t count, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> permutation(static_cast<size_t>(count));
  std::iota(permutation.begin(), permutation.end(), int64_t{0});
  Random random(seed, stream_of("sampler.shuffled"), static_cast<uint64_t>(epoch) * kWordsPerEpoch);
  for (int64_t last = count - 1; last > 0; --last) {
    std::swap(permutation[static_cast<size_t>(last)],
              permutation[static_cast<size_t>(random.below(last + 1))]);
  }
  return permutation;
}

}  // namespace

int64_t ShuffledSampler::next() {
  if (permuted_ != epoch()) {
    permutation_ = permutation_of(count(), seed(), epoch());
    permuted_ = epoch();
  }
  return permutation_[static_cast<size_t>(advance() % count())];
}

WindowSampler::WindowSampler(std::vector<int64_t> document_lengths, int64_t length, uint64_t seed)
    : Sampler(seed), document_lengths_(std::move(document_lengths)), length_(length) {
  if (length < 1) fail("sampler", "length: got {}, expected at least 1", length);
  if (document_lengths_.empty()) fail("sampler", "documents: got 0, expected at least 1");
  for (size_t document = 0; document < document_lengths_.size(); ++document) {
    if (document_lengths_[document] < length) {
      fail("sampler", "document {}: got {} tokens, expected at least {}", document,
           document_lengths_[document], length);
    }
  }
}

Window WindowSampler::next() {
  Random random(seed(), stream_of("sampler.windows"),
                static_cast<uint64_t>(advance()) * kWordsPerWindow);
  const int64_t document = random.below(static_cast<int64_t>(document_lengths_.size()));
  const int64_t starts = document_lengths_[static_cast<size_t>(document)] - length_ + 1;
  return {document, random.below(starts)};
}

}  // namespace offshoot
