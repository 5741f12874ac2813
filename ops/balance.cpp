#include "ops/balance.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/op.h"

namespace offshoot {
namespace {

void check_tokens(std::string_view op, std::string_view what, const Tensor& scores) {
  check_float(op, what, scores);
  check_rank(op, what, scores, 2);
  if (scores.size() == 0) {
    fail(op, "{}: got shape {}, expected at least one token and expert", what,
         to_string(scores.shape()));
  }
}

// The share of tokens whose first pair goes to each expert.
std::vector<double> first_choices(const Routing& routing) {
  std::vector<double> shares(static_cast<size_t>(routing.experts()), 0.0);
  const int64_t N = routing.tokens();
  const int64_t* const offsets = routing.token_offsets.data<int64_t>();
  const int32_t* const experts = routing.expert_of_pair.data<int32_t>();
  for (int64_t n = 0; n < N; ++n) {
    if (offsets[n] == offsets[n + 1]) continue;  // a router may keep nothing
    shares[static_cast<size_t>(experts[offsets[n]])] += 1.0 / static_cast<double>(N);
  }
  return shares;
}

}  // namespace

Tensor load_balance_loss(Tape& tape, const Tensor& probs, const Routing& routing) {
  constexpr std::string_view kName = "load_balance_loss";
  check_tokens(kName, "probs", probs);
  check_shape(kName, "probs", probs, {routing.tokens(), routing.experts()});
  const int64_t N = probs.dim(0), E = probs.dim(1);
  std::vector<double> shares = first_choices(routing);
  const Tensor out({}, probs.dtype());
  dispatch_float(kName, probs.dtype(), [&]<class T>(T) {
    const T* const r = probs.data<T>();
    double sum = 0;
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t e = 0; e < E; ++e)
        sum += static_cast<double>(r[n * E + e]) * shares[static_cast<size_t>(e)];
    }
    *out.data<T>() = static_cast<T>(sum * static_cast<double>(E) / static_cast<double>(N));
  });
  tape.record(kName, {probs}, out, [probs, shares, N, E](Tape& walk, const Tensor& dout) {
    const GradSlot dprobs = walk.slot(probs);
    dispatch_float(kName, dout.dtype(), [&]<class T>(T) {
      T* const grad = dprobs.grad.data<T>();
      const double factor = dout.item() * static_cast<double>(E) / static_cast<double>(N);
      for (int64_t n = 0; n < N; ++n) {
        for (int64_t e = 0; e < E; ++e) {
          accumulate(grad[n * E + e], static_cast<T>(factor * shares[static_cast<size_t>(e)]),
                     dprobs.overwrite);
        }
      }
    });
  });
  return out;
}

Tensor router_z_loss(Tape& tape, const Tensor& logits) {
  constexpr std::string_view kName = "router_z_loss";
  check_tokens(kName, "logits", logits);
  const int64_t N = logits.dim(0), E = logits.dim(1);
  const Tensor out({}, logits.dtype()), sums({N}, logits.dtype());
  dispatch_float(kName, logits.dtype(), [&]<class T>(T) {
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
  });
  // d(z^2)/d(logit) = 2 z softmax(logit)
  tape.record(kName, {logits}, out, [logits, sums, N, E](Tape& walk, const Tensor& dout) {
    const GradSlot slot = walk.slot(logits);
    dispatch_float(kName, dout.dtype(), [&]<class T>(T) {
      const T factor = static_cast<T>(2 * dout.item() / static_cast<double>(N));
      for (int64_t n = 0; n < N; ++n) {
        const T z = sums.data<T>()[n];
        for (int64_t e = 0; e < E; ++e) {
          const T share = std::exp(logits.data<T>()[n * E + e] - z);
          accumulate(slot.grad.data<T>()[n * E + e], factor * z * share, slot.overwrite);
        }
      }
    });
  });
  return out;
}

}  // namespace offshoot
