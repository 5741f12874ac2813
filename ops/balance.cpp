#include "ops/balance.h"

#include <algorithm>
#include <cmath>

#include "cuda/balance.h"
#include "ops/op.h"

namespace offshoot {
namespace {

void check_tokens(std::string_view op, std::string_view what, const Tensor& scores) {
  check_float(op, what, scores);
  check_parameter(op, what, scores, scores);
  check_rank(op, what, scores, 2);
  if (scores.size() == 0) {
    fail(op, "{}: got shape {}, expected at least one token and expert", what,
         to_string(scores.shape()));
  }
}

// Calls cpu(T{}) with the C++ type of the scores, or cuda(float{}).
template <class Cpu, class Cuda>
void dispatch_scores(std::string_view op, const Tensor& scores, Cpu&& cpu, Cuda&& cuda) {
  if constexpr (kHasCuda) {
    if (scores.device().is_cuda()) return cuda(float{});
  }
  dispatch_float(op, scores.dtype(), std::forward<Cpu>(cpu));
}

// The share of tokens whose first choice is each expert.
template <class T>
void first_choices(const Tensor& probs, const Routing& routing, const Tensor& to) {
  fill_zero(to);
  double* const shares = to.data<double>();
  const int64_t N = probs.dim(0), E = probs.dim(1);
  const int64_t* const offsets = routing.token_offsets.data<int64_t>();
  const int32_t* const experts = routing.expert_of_pair.data<int32_t>();
  for (int64_t n = 0; n < N; ++n) {
    const T* const r = probs.data<T>() + n * E;
    // A router may keep nothing.
    const int64_t first =
        offsets[n] < offsets[n + 1] ? experts[offsets[n]] : std::max_element(r, r + E) - r;
    shares[first] += 1.0 / static_cast<double>(N);
  }
}

template <class T>
void load_balance_forward(const Tensor& probs, const Tensor& shares, const Tensor& out) {
  const int64_t N = probs.dim(0), E = probs.dim(1);
  const T* const r = probs.data<T>();
  const double* const share = shares.data<double>();
  double sum = 0;
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t e = 0; e < E; ++e) sum += static_cast<double>(r[n * E + e]) * share[e];
  }
  *out.data<T>() = static_cast<T>(sum * static_cast<double>(E) / static_cast<double>(N));
}

template <class T>
void load_balance_backward(const Tensor& shares, const Tensor& dout, const GradSlot& dprobs) {
  const int64_t N = dprobs.grad.dim(0), E = dprobs.grad.dim(1);
  T* const grad = dprobs.grad.data<T>();
  const double* const share = shares.data<double>();
  const double factor = dout.item() * static_cast<double>(E) / static_cast<double>(N);
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t e = 0; e < E; ++e) {
      accumulate(grad[n * E + e], static_cast<T>(factor * share[e]), dprobs.overwrite);
    }
  }
}

template <class T>
void router_z_forward(const Tensor& logits, const Tensor& sums, const Tensor& out) {
  const int64_t N = logits.dim(0), E = logits.dim(1);
  double total = 0;
  for (int64_t n = 0; n < N; ++n) {
    const T* const row = logits.data<T>() + n * E;
    const T largest = *std::max_element(row, row + E);
    T sum = 0;
    for (int64_t e = 0; e < E; ++e) sum += std::exp(row[e] - largest);
    const T z = largest + std::log(sum);
    sums.data<T>()[n] = z;
    total += static_cast<double>(z) * z;
  }
  *out.data<T>() = static_cast<T>(total / static_cast<double>(N));
}

// d(z^2)/d(logit) = 2 z softmax(logit)
template <class T>
void router_z_backward(const Tensor& logits, const Tensor& sums, const Tensor& dout,
                       const GradSlot& dlogits) {
  const int64_t N = logits.dim(0), E = logits.dim(1);
  const T factor = static_cast<T>(2 * dout.item() / static_cast<double>(N));
  for (int64_t n = 0; n < N; ++n) {
    const T z = sums.data<T>()[n];
    for (int64_t e = 0; e < E; ++e) {
      const T share = std::exp(logits.data<T>()[n * E + e] - z);
      accumulate(dlogits.grad.data<T>()[n * E + e], factor * z * share, dlogits.overwrite);
    }
  }
}

template <class T>
void load_balance_cuda(const Tensor& probs, const Routing& routing, const Tensor& shares,
                       const Tensor& out) {
  const int64_t N = probs.dim(0), E = probs.dim(1);
  const Tensor sums({cuda::load_balance_scratch(N, E)}, DType::f64, probs.device());
  cuda::load_balance_forward(probs.device_data<T>(), routing.token_offsets.device_data<int64_t>(),
                             routing.expert_of_pair.device_data<int32_t>(), N, E,
                             sums.device_data<double>(), shares.device_data<T>(),
                             out.device_data<T>(), stream_of(probs));
}

template <class T>
void load_balance_backward_cuda(const Tensor& shares, const Tensor& dout, const GradSlot& dprobs) {
  cuda::load_balance_backward(shares.device_data<T>(), dout.device_data<T>(), dprobs.grad.dim(0),
                              dprobs.grad.dim(1), dprobs.grad.device_data<T>(), dprobs.overwrite,
                              stream_of(dout));
}

template <class T>
void router_z_cuda(const Tensor& logits, const Tensor& sums, const Tensor& out) {
  cuda::router_z_forward(logits.device_data<T>(), logits.dim(0), logits.dim(1),
                         sums.device_data<T>(), out.device_data<T>(), stream_of(logits));
}

template <class T>
void router_z_backward_cuda(const Tensor& logits, const Tensor& sums, const Tensor& dout,
                            const GradSlot& dlogits) {
  cuda::router_z_backward(logits.device_data<T>(), sums.device_data<T>(), dout.device_data<T>(),
                          logits.dim(0), logits.dim(1), dlogits.grad.device_data<T>(),
                          dlogits.overwrite, stream_of(logits));
}

}  // namespace

Tensor load_balance_loss(Tape& tape, const Tensor& probs, const Routing& routing) {
  constexpr std::string_view kName = "load_balance_loss";
  check_tokens(kName, "probs", probs);
  check_shape(kName, "probs", probs, {routing.tokens(), routing.experts()});
  check_device(kName, "routing", routing.token_offsets, probs.device());
  const Device device = probs.device();
  const Tensor shares({probs.dim(1)}, device.is_cuda() ? DType::f32 : DType::f64, device);
  const Tensor out({}, probs.dtype(), device);
  dispatch_scores(
      kName, probs,
      [&]<class T>(T) {
        first_choices<T>(probs, routing, shares);
        load_balance_forward<T>(probs, shares, out);
      },
      [&]<class T>(T) { load_balance_cuda<T>(probs, routing, shares, out); });
  tape.record(kName, {probs}, out, [probs, shares](Tape& walk, const Tensor& dout) {
    const GradSlot dprobs = walk.slot(probs);
    dispatch_scores(
        kName, probs, [&]<class T>(T) { load_balance_backward<T>(shares, dout, dprobs); },
        [&]<class T>(T) { load_balance_backward_cuda<T>(shares, dout, dprobs); });
  });
  return out;
}

Tensor router_z_loss(Tape& tape, const Tensor& logits) {
  constexpr std::string_view kName = "router_z_loss";
  check_tokens(kName, "logits", logits);
  const Device device = logits.device();
  const Tensor out({}, logits.dtype(), device), sums({logits.dim(0)}, logits.dtype(), device);
  dispatch_scores(
      kName, logits, [&]<class T>(T) { router_z_forward<T>(logits, sums, out); },
      [&]<class T>(T) { router_z_cuda<T>(logits, sums, out); });
  tape.record(kName, {logits}, out, [logits, sums](Tape& walk, const Tensor& dout) {
    const GradSlot dlogits = walk.slot(logits);
    dispatch_scores(
        kName, logits, [&]<class T>(T) { router_z_backward<T>(logits, sums, dout, dlogits); },
        [&]<class T>(T) { router_z_backward_cuda<T>(logits, sums, dout, dlogits); });
  });
  return out;
}

}  // namespace offshoot
