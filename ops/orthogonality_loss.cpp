#include "ops/orthogonality_loss.h"

#include <vector>

#include "cuda/orthogonality_loss.h"
#include "engine/parallel.h"
#include "ops/op.h"
#include "ops/reduce_kernels.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "orthogonality_loss";
using cuda::share_of;
using cuda::share_slope;

void check(const Tensor& y, const Routing& routing) {
  check_float(kName, "y", y);
  check_rank(kName, "y", y, 2);
  check_rows(kName, "y", y);
  check_shape(kName, "y", y, {routing.rows(), y.last_dim()});
  check_device(kName, "y", y, routing.token_offsets.device());
  if (routing.tokens() == 0) fail(kName, "routing: got no token, expected at least one");
}

// By row: squares <x_j, x_j>, and couplings, the sum of <x_j, x_k>^2 over the token's other rows k.
struct Saved {
  Tensor squares, couplings;  // [R] f64
};

// Calls f(n, rows, count) for every token, in parallel; `rows` are those of its `count` pairs.
template <class F>
void each_token(const Routing& routing, int64_t D, F f) {
  const int64_t N = routing.tokens();
  const int64_t* const offsets = routing.token_offsets.data<int64_t>();
  const int32_t* const row_of_pair = routing.row_of_pair.data<int32_t>();
  const int64_t pairs_of_token = routing.pairs() / N + 1;
  parallel_for(N, row_grain(pairs_of_token * pairs_of_token * D), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      f(n, row_of_pair + offsets[n], offsets[n + 1] - offsets[n]);
    }
  });
}

template <class T>
void forward(const Tensor& y, const Routing& routing, const Saved& saved, const Tensor& out) {
  const int64_t N = routing.tokens(), D = y.last_dim();
  const T* const x = y.data<T>();
  double* const squares = saved.squares.data<double>();
  double* const couplings = saved.couplings.data<double>();
  each_token(routing, D, [=](int64_t, const int32_t* rows, int64_t count) {
    for (int64_t j = 0; j < count; ++j) {
      const T* const x_j = x + rows[j] * D;
      squares[rows[j]] = double_dot(x_j, x_j, D);
      couplings[rows[j]] = 0;
      for (int64_t k = 0; k < j; ++k) {
        const double product = double_dot(x_j, x + rows[k] * D, D);
        couplings[rows[j]] += product * product;
        couplings[rows[k]] += product * product;
      }
    }
  });
  double sum = 0;
  for (int64_t r = 0; r < routing.rows(); ++r) sum += couplings[r] * share_of(squares[r]);
  *out.data<T>() = static_cast<T>(sum / static_cast<double>(N));
}

template <class T>
void backward(const Tensor& y, const Routing& routing, const Saved& saved, const Tensor& dout,
              const GradSlot& dy) {
  const int64_t D = y.last_dim();
  const T* const x = y.data<T>();
  T* const dx = dy.grad.data<T>();
  const double* const squares = saved.squares.data<double>();
  const double* const couplings = saved.couplings.data<double>();
  const double factor = 2 * dout.item() / static_cast<double>(routing.tokens());
  each_token(routing, D,
             [=, overwrite = dy.overwrite](int64_t, const int32_t* rows, int64_t count) {
               for (int64_t j = 0; j < count; ++j) {
                 const T* const x_j = x + rows[j] * D;
                 T* const dx_j = dx + rows[j] * D;
                 const double s_j = squares[rows[j]];
                 if (overwrite) std::fill_n(dx_j, D, T{0});
                 if (count == 1) continue;
                 axpy(static_cast<T>(factor * couplings[rows[j]] * share_slope(s_j)), x_j, dx_j, D);
                 for (int64_t k = 0; k < count; ++k) {
                   if (k == j) continue;
                   const T* const x_k = x + rows[k] * D;
                   const double shares = share_of(s_j) + share_of(squares[rows[k]]);
                   axpy(static_cast<T>(factor * double_dot(x_j, x_k, D) * shares), x_k, dx_j, D);
                 }
               }
             });
}

template <class T>
cuda::OrthogonalityPlan plan_of(const Routing& routing) {
  return {routing.tokens(),
          routing.rows(),
          routing.expert_offsets.device_data<int64_t>() + routing.experts(),
          routing.token_offsets.device_data<int64_t>(),
          routing.token_of_row.device_data<int32_t>(),
          routing.row_of_pair.device_data<int32_t>()};
}

template <class T>
void forward_cuda(const Tensor& y, const Routing& routing, const Saved& saved, const Tensor& out) {
  cuda::orthogonality_forward(
      plan_of<T>(routing), y.device_data<T>(), y.last_dim(), saved.squares.device_data<double>(),
      saved.couplings.device_data<double>(), out.device_data<float>(), stream_of(y));
}

template <class T>
void backward_cuda(const Tensor& y, const Routing& routing, const Saved& saved, const Tensor& dout,
                   const GradSlot& dy) {
  cuda::orthogonality_backward(plan_of<T>(routing), y.device_data<T>(), y.last_dim(),
                               saved.squares.device_data<double>(),
                               saved.couplings.device_data<double>(), dout.device_data<float>(),
                               dy.grad.device_data<T>(), dy.overwrite, stream_of(y));
}

}  // namespace

Tensor orthogonality_loss(Tape& tape, const Tensor& y, const Routing& routing) {
  check(y, routing);
  const Device device = y.device();
  const Tensor out({}, device.is_cuda() ? DType::f32 : y.dtype(), device);
  const Saved saved{Tensor({routing.rows()}, DType::f64, device),
                    Tensor({routing.rows()}, DType::f64, device)};
  dispatch(
      kName, y, [&]<class T>(T) { forward<T>(y, routing, saved, out); },
      [&]<class T>(T) { forward_cuda<T>(y, routing, saved, out); });
  tape.record(kName, {y}, out, [y, routing, saved](Tape& walk, const Tensor& dout) {
    const GradSlot dy = walk.slot(y);
    dispatch(
        kName, y, [&]<class T>(T) { backward<T>(y, routing, saved, dout, dy); },
        [&]<class T>(T) { backward_cuda<T>(y, routing, saved, dout, dy); });
  });
  return out;
}

}  // namespace offshoot
