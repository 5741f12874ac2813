#include "cuda/attention.h"

#include <atomic>
#include <string>
#include <type_traits>

#include "cuda/attention_cudnn.h"
#include "cuda/attention_simt.h"
#include "cuda/error.h"

namespace offshoot::cuda {
namespace {

std::atomic<int64_t> cudnn_calls{0}, own_calls{0};

template <class T>
void check(const Attention<T>& a) {
  if (a.Dh < 1 || a.Dh > kMaxAttentionColumns) {
    throw Error("[attention] columns of a head: got " + std::to_string(a.Dh) + ", expected 1 to " +
                std::to_string(kMaxAttentionColumns));
  }
}

// What cuDNN computes; whether it has an algorithm is its own to say.
template <class T>
constexpr bool kCudnnType = kHasCudnn&& std::is_same_v<T, bfloat16>;

}  // namespace

template <class T>
void attention_forward(const Attention<T>& a, const AttentionRows<T>& out, float* log_sums,
                       const Scratch& scratch, int device, Stream stream) {
  check(a);
  if (a.B == 0 || a.Tq == 0) return;
  if constexpr (kCudnnType<T>) {
    if (cudnn_attention_forward(a, out, log_sums, scratch, device, stream)) {
      ++cudnn_calls;
      return;
    }
  }
  simt_attention_forward(a, out, log_sums, stream);
  ++own_calls;
}

template <class T>
void attention_backward(const Attention<T>& a, const AttentionBackward<T>& back,
                        const Scratch& scratch, int device, Stream stream) {
  check(a);
  if (a.B == 0) return;
  if constexpr (kCudnnType<T>) {
    if (cudnn_attention_backward(a, back, scratch, device, stream)) {
      ++cudnn_calls;
      return;
    }
  }
  const int64_t rows = a.B * a.heads * a.Tq;
  const auto deltas =
      rows == 0 ? nullptr : static_cast<float*>(scratch(rows * int64_t{sizeof(float)}));
  simt_attention_backward(a, back, deltas, stream);
  ++own_calls;
}

AttentionStats attention_stats() { return {cudnn_calls, own_calls}; }

#define OFFSHOOT_ATTENTION(T)                                                           \
  template void attention_forward(const Attention<T>&, const AttentionRows<T>&, float*, \
                                  const Scratch&, int, Stream);                         \
  template void attention_backward(const Attention<T>&, const AttentionBackward<T>&,    \
                                   const Scratch&, int, Stream);
OFFSHOOT_ATTENTION(float)
OFFSHOOT_ATTENTION(bfloat16)
#undef OFFSHOOT_ATTENTION

}  // namespace offshoot::cuda
