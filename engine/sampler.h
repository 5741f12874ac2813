// Index streams: which items, or which windows of which documents, training sees, and in what
// order.
//
// A stream is a function of (seed, position) alone: draw n is the same whether the draws before it
// were made or not, so a checkpoint holds the two numbers and a seek is exact. Random numbers come
// from Philox streams named after the sampler. Every constructor and seek() throws Error on sizes
// that cannot be served.
#pragma once

#include <cstdint>
#include <vector>

namespace offshoot {

// The state that all samplers share.
class Sampler {
 public:
  uint64_t seed() const { return seed_; }
  int64_t position() const { return position_; }  // draws made so far
  void seek(int64_t position);                    // throws Error when negative

 protected:
  explicit Sampler(uint64_t seed) : seed_(seed) {}
  ~Sampler() = default;
  Sampler(const Sampler&) = default;
  Sampler& operator=(const Sampler&) = default;

  int64_t advance() { return position_++; }

 private:
  uint64_t seed_;
  int64_t position_ = 0;
};

// Indices in [0, count), every one once an epoch of `count` draws. count >= 1.
class IndexSampler : public Sampler {
 public:
  virtual ~IndexSampler() = default;
  virtual int64_t next() = 0;

  int64_t count() const { return count_; }
  int64_t epoch() const { return position() / count_; }  // whole epochs drawn so far

 protected:
  IndexSampler(int64_t count, uint64_t seed);

 private:
  int64_t count_;
};

// 0, 1, ... count - 1, 0, 1, ...
class SequentialSampler final : public IndexSampler {
 public:
  explicit SequentialSampler(int64_t count) : IndexSampler(count, 0) {}
  int64_t next() override { return advance() % count(); }
};

// A new uniform permutation each epoch: Fisher-Yates from (seed, epoch). Keeps one permutation in
// memory; after a seek to another epoch, the next draw costs O(count).
class ShuffledSampler final : public IndexSampler {
 public:
  ShuffledSampler(int64_t count, uint64_t seed) : IndexSampler(count, seed) {}
  int64_t next() override;

 private:
  std::vector<int64_t> permutation_;  // of epoch permuted_; empty before the first draw
  int64_t permuted_ = -1;
};

struct Window {
  int64_t document;
  int64_t start;  // in tokens; start + length <= the document's length

  bool operator==(const Window&) const = default;
};

// Windows of `length` tokens, drawn with replacement: the document uniform among all, whatever
// their lengths, then the start uniform among those that leave room. Every document must hold at
// least `length` tokens, length >= 1.
class WindowSampler final : public Sampler {
 public:
  WindowSampler(std::vector<int64_t> document_lengths, int64_t length, uint64_t seed);
  Window next();

  int64_t length() const { return length_; }

 private:
  std::vector<int64_t> document_lengths_;
  int64_t length_;
};

}  // namespace offshoot
