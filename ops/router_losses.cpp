#include "ops/router_losses.h"

#include <algorithm>
#include <cmath>

#include "cuda/router_losses.h"
#include "engine/parallel.h"
#include "ops/binary.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/op.h"
#include "ops/reduce.h"
#include "ops/row_norms.h"
#include "ops/unary.h"
#include "ops/vector_math.h"

namespace offshoot {
namespace {

constexpr std::string_view kLoad = "load_loss";

void check(std::string_view op, std::string_view what, const Tensor& matrix,
           std::string_view expected) {
  check_float(op, what, matrix);
  check_parameter(op, what, matrix, matrix);
  check_rank(op, what, matrix, 2);
  if (matrix.size() == 0) {
    fail(op, "{}: got shape {}, expected {}", what, to_string(matrix.shape()), expected);
  }
}

void check_scores(std::string_view op, std::string_view what, const Tensor& scores) {
  check(op, what, scores, "at least one token and expert");
}

// Variance / mean^2 of x [E].
Tensor squared_variation(Tape& tape, const Tensor& x) {
  const Tensor average = mean(tape, x);
  const Tensor variance = mean(tape, square(tape, sub(tape, x, average)));
  return div(tape, variance, square(tape, average));
}

// The expert whose logit is each token's threshold.
template <class T>
void find_thresholds(const Tensor& logits, const Routing& routing, const Tensor& experts) {
  const int64_t N = logits.dim(0), E = logits.dim(1);
  const int64_t* const offsets = routing.token_offsets.data<int64_t>();
  const int32_t* const expert_of_pair = routing.expert_of_pair.data<int32_t>();
  int32_t* const to = experts.data<int32_t>();
  for (int64_t n = 0; n < N; ++n) {
    const T* const row = logits.data<T>() + n * E;
    to[n] = offsets[n] < offsets[n + 1]
                ? expert_of_pair[offsets[n + 1] - 1]
                : static_cast<int32_t>(std::max_element(row, row + E) - row);
    if (!std::isfinite(row[to[n]])) {
      fail(kLoad, "logits: got {} as threshold of token {}, expected a finite number", row[to[n]],
           n);
    }
  }
}

// Calls f(n, row of logits, threshold) for every token, in parallel.
template <class T, class F>
void each_token(const Tensor& logits, const Tensor& experts, F f) {
  const int64_t E = logits.dim(1);
  const T* const data = logits.data<T>();
  const int32_t* const thresholds = experts.data<int32_t>();
  parallel_for(logits.dim(0), row_grain(8 * E), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) f(n, data + n * E, data[n * E + thresholds[n]]);
  });
}

template <class T>
void chances_forward(const Tensor& logits, const Tensor& experts, double sigma, const Tensor& out) {
  const int64_t E = logits.dim(1);
  T* const to = out.data<T>();
  const T scale = static_cast<T>(1 / sigma);
  each_token<T>(logits, experts, [=](int64_t n, const T* row, T threshold) {
    for (int64_t e = 0; e < E; ++e) {
      T density;
      to[n * E + e] = vnormal(scale * (row[e] - threshold), density);
    }
  });
}

// With z_e = (logit_e - threshold) / sigma:  dlogit_e = dout_e phi(z_e) / sigma, of which the
// threshold's logit loses the sum.
template <class T>
void chances_backward(const Tensor& logits, const Tensor& experts, double sigma, const Tensor& dout,
                      const GradSlot& dlogits) {
  const int64_t E = logits.dim(1);
  const T* const g = dout.data<T>();
  const int32_t* const thresholds = experts.data<int32_t>();
  T* const grad = dlogits.grad.data<T>();
  const T scale = static_cast<T>(1 / sigma);
  each_token<T>(logits, experts,
                [=, overwrite = dlogits.overwrite](int64_t n, const T* row, T threshold) {
                  T sum = 0;
                  for (int64_t e = 0; e < E; ++e) {
                    T density;
                    vnormal(scale * (row[e] - threshold), density);
                    const T d = g[n * E + e] * density * scale;
                    accumulate(grad[n * E + e], d, overwrite);
                    sum += d;
                  }
                  grad[n * E + thresholds[n]] -= sum;
                });
}

// out [N, E]: the chance that noise of deviation sigma lifts a logit above the token's threshold.
Tensor load_chances(Tape& tape, const Tensor& logits, const Routing& routing, double sigma) {
  const int64_t N = logits.dim(0), E = logits.dim(1);
  const Device device = logits.device();
  const Tensor out(logits.shape(), logits.dtype(), device), experts({N}, DType::i32, device);
  const auto dispatch_logits = [logits](auto&& cpu, auto&& on_cuda) {
    if constexpr (kHasCuda) {
      if (logits.device().is_cuda()) return on_cuda(float{});
    }
    dispatch_float(kLoad, logits.dtype(), cpu);
  };
  dispatch_logits(
      [&]<class T>(T) {
        find_thresholds<T>(logits, routing, experts);
        chances_forward<T>(logits, experts, sigma, out);
      },
      [&]<class T>(T) {
        cuda::load_chances_forward(
            logits.device_data<T>(), routing.token_offsets.device_data<int64_t>(),
            routing.expert_of_pair.device_data<int32_t>(), N, E, sigma,
            experts.device_data<int32_t>(), out.device_data<T>(), stream_of(logits));
      });
  tape.record(kLoad, {logits}, out,
              [logits, experts, sigma, N, E, dispatch_logits](Tape& walk, const Tensor& dout) {
                const GradSlot dlogits = walk.slot(logits);
                dispatch_logits(
                    [&]<class T>(T) { chances_backward<T>(logits, experts, sigma, dout, dlogits); },
                    [&]<class T>(T) {
                      cuda::load_chances_backward(
                          logits.device_data<T>(), experts.device_data<int32_t>(),
                          dout.device_data<T>(), N, E, sigma, dlogits.grad.device_data<T>(),
                          dlogits.overwrite, stream_of(logits));
                    });
              });
  return out;
}

Tensor identity_like(const Tensor& embedding) {
  const int64_t E = embedding.dim(0);
  const Tensor identity = Tensor::zeros({E, E}, embedding.dtype());
  dispatch_float("diversity_loss", embedding.dtype(), [&]<class T>(T) {
    for (int64_t e = 0; e < E; ++e) identity.data<T>()[e * E + e] = T{1};
  });
  return identity.to(embedding.device());
}

}  // namespace

Tensor importance_loss(Tape& tape, const Tensor& probs) {
  check_scores("importance_loss", "probs", probs);
  return squared_variation(tape, sum(tape, probs, 0));
}

Tensor load_loss(Tape& tape, const Tensor& logits, const Routing& routing, double sigma) {
  check_scores(kLoad, "logits", logits);
  check_shape(kLoad, "logits", logits, {routing.tokens(), routing.experts()});
  check_device(kLoad, "routing", routing.token_offsets, logits.device());
  if (!(sigma > 0 && std::isfinite(sigma))) {
    fail(kLoad, "sigma: got {}, expected a positive number", sigma);
  }
  return squared_variation(tape, sum(tape, load_chances(tape, logits, routing, sigma), 0));
}

Tensor variance_loss(Tape& tape, const Tensor& scores) {
  check_scores("variance_loss", "scores", scores);
  const Tensor from_mean = sub(tape, scores, mean(tape, scores, 0));
  return scale(tape, sum(tape, square(tape, from_mean)), -1.0 / static_cast<double>(scores.dim(0)));
}

Tensor diversity_loss(Tape& tape, const Tensor& embedding) {
  check("diversity_loss", "embedding", embedding, "at least one expert and dimension");
  const int64_t E = embedding.dim(0);
  const Tensor units = normalize_rows(tape, embedding);
  const Tensor cosines = matmul(tape, units, units, {.transpose_b = true});
  const Tensor rest = sub(tape, cosines, identity_like(embedding));
  const Tensor overlap = row_norms(tape, reshape(tape, rest, {1, E * E}));
  return add(tape, mean(tape, overlap), mean(tape, row_norms(tape, embedding)));
}

}  // namespace offshoot
