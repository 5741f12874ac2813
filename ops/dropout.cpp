#include "ops/dropout.h"

#include <algorithm>
#include <cmath>

#include "cuda/dropout.h"
#include "engine/parallel.h"
#include "engine/random.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "dropout";

constexpr uint32_t low(uint64_t word) { return static_cast<uint32_t>(word); }
constexpr uint32_t high(uint64_t word) { return static_cast<uint32_t>(word >> 32); }

// Which words of Philox make a mask, and from where on they keep.
struct Mask {
  uint64_t seed;
  uint64_t stream;
  uint32_t threshold;

  Mask(double rate, const DropoutKey& key, uint64_t stream_of_module) : seed(key.seed) {
    const auto step = static_cast<uint64_t>(key.step);
    const auto micro_batch = static_cast<uint64_t>(key.micro_batch);
    const auto mixed = philox({low(step), high(step), low(micro_batch), high(micro_batch)},
                              {low(stream_of_module), high(stream_of_module)});
    stream = mixed[0] | uint64_t{mixed[1]} << 32;
    threshold = static_cast<uint32_t>(std::min(std::ldexp(rate, 32), 0x1p32 - 1));
  }
};

// Blocks of four words that are computed together, one in each lane.
constexpr int64_t kLanes = 16;
constexpr int64_t kChunk = 4 * kLanes;

// Words of Philox4x32-10 from block `first` on: philox() for kLanes counters at once, in a loop
// that vectorises.
void draw(const Mask& mask, uint64_t first, uint32_t (&words)[kChunk]) {
  for (uint64_t lane = 0; lane < kLanes; ++lane) {
    uint32_t c0 = low(first + lane), c1 = high(first + lane);
    uint32_t c2 = low(mask.stream), c3 = high(mask.stream);
    uint32_t key0 = low(mask.seed), key1 = high(mask.seed);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const uint64_t product0 = uint64_t{0xD2511F53} * c0;
      const uint64_t product1 = uint64_t{0xCD9E8D57} * c2;
      c0 = high(product1) ^ c1 ^ key0;
      c1 = low(product1);
      c2 = high(product0) ^ c3 ^ key1;
      c3 = low(product0);
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    words[4 * lane] = c0;
    words[4 * lane + 1] = c1;
    words[4 * lane + 2] = c2;
    words[4 * lane + 3] = c3;
  }
}

// out (+)= keep x scale
template <class T>
void apply(const Mask& mask, double rate, const Tensor& x, const Tensor& out, bool overwrite) {
  const T scale = static_cast<T>(1 / (1 - rate));
  const T* const x_data = x.data<T>();
  T* const out_data = out.data<T>();
  const int64_t size = x.size(), chunks = (size + kChunk - 1) / kChunk;
  parallel_for(chunks, row_grain(8 * kChunk), [=](int64_t first, int64_t last) {
    uint32_t words[kChunk];
    for (int64_t chunk = first; chunk < last; ++chunk) {
      draw(mask, static_cast<uint64_t>(chunk * kLanes), words);
      const int64_t begin = chunk * kChunk, count = std::min(kChunk, size - begin);
      for (int64_t i = 0; i < count; ++i) {
        const T value = words[i] >= mask.threshold ? x_data[begin + i] * scale : T{0};
        accumulate(out_data[begin + i], value, overwrite);
      }
    }
  });
}

template <class T>
void apply_cuda(const Mask& mask, double rate, const Tensor& x, const Tensor& out, bool overwrite) {
  cuda::dropout(cuda::DropoutMask{mask.seed, mask.stream, mask.threshold}, x.device_data<T>(),
                static_cast<float>(1 / (1 - rate)), x.size(), out.device_data<T>(), overwrite,
                stream_of(x));
}

}  // namespace

Tensor dropout(Tape& tape, const Tensor& x, double rate, const DropoutKey& key, uint64_t stream,
               bool train) {
  check_float(kName, "x", x);
  if (!(rate >= 0 && rate < 1)) fail(kName, "rate: got {}, expected a number in [0, 1)", rate);
  if (!train || rate == 0) return x;
  const Mask mask(rate, key, stream);
  const Tensor out(x.shape(), x.dtype(), x.device());
  dispatch(
      kName, x, [&]<class T>(T) { apply<T>(mask, rate, x, out, true); },
      [&]<class T>(T) { apply_cuda<T>(mask, rate, x, out, true); });
  tape.record(kName, {x}, out, [x, mask, rate](Tape& walk, const Tensor& dout) {
    const GradSlot dx = walk.slot(x);
    dispatch(
        kName, x, [&]<class T>(T) { apply<T>(mask, rate, dout, dx.grad, dx.overwrite); },
        [&]<class T>(T) { apply_cuda<T>(mask, rate, dout, dx.grad, dx.overwrite); });
  });
  return out;
}

bool dropout_keeps(double rate, const DropoutKey& key, uint64_t stream, int64_t i) {
  const Mask mask(rate, key, stream);
  const auto word = static_cast<uint64_t>(i);
  return Random(mask.seed, mask.stream, word).next_u32() >= mask.threshold;
}

}  // namespace offshoot
