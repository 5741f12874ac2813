#include "ops/permute.h"

#include <algorithm>

#include "cuda/permute.h"
#include "engine/parallel.h"
#include "ops/op.h"
#include "ops/reduce_kernels.h"

namespace offshoot {
namespace {

constexpr std::string_view kDispatch = "dispatch_tokens";
constexpr std::string_view kCombine = "combine_tokens";

void check(std::string_view op, std::string_view what, const Tensor& x, int64_t rows,
           const Routing& routing) {
  check_rank(op, what, x, 2);
  check_rows(op, what, x);
  check_shape(op, what, x, {rows, x.last_dim()});
  check_device(op, what, x, routing.weights.device());
  if (x.device().is_cuda()) {
    check_parameter(op, "weights", routing.weights, x);
  } else {
    check_dtype(op, what, x, routing.weights.dtype());
  }
}

template <class T>
cuda::PermutePlan plan_of(const Routing& routing) {
  return {routing.tokens(),
          routing.rows(),
          routing.expert_offsets.device_data<int64_t>() + routing.experts(),
          routing.token_offsets.device_data<int64_t>(),
          routing.token_of_row.device_data<int32_t>(),
          routing.pair_of_row.device_data<int32_t>(),
          routing.row_of_pair.device_data<int32_t>()};
}

template <class T>
void copy_rows(const Tensor& x, const Routing& routing, const Tensor& out) {
  const int64_t D = x.last_dim();
  const T* source = x.data<T>();
  T* target = out.data<T>();
  const int32_t* token_of_row = routing.token_of_row.data<int32_t>();
  parallel_for(routing.pairs(), row_grain(D), [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      std::copy_n(source + token_of_row[row] * D, D, target + row * D);
    }
  });
}

// out[n, :] (+)= sum over the pairs of token n of scale(pair) * rows[row_of_pair[pair], :].
template <class T, class Scale>
void sum_rows(const T* rows, const Routing& routing, int64_t D, T* out, bool overwrite,
              Scale scale) {
  const int64_t* offsets = routing.token_offsets.data<int64_t>();
  const int32_t* row_of_pair = routing.row_of_pair.data<int32_t>();
  const int64_t N = routing.tokens();
  const int64_t pairs_of_token = routing.pairs() / std::max<int64_t>(1, N) + 1;
  parallel_for(N, row_grain(pairs_of_token * D), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      T* out_n = out + n * D;
      int64_t pair = offsets[n];
      if (overwrite && pair == offsets[n + 1]) std::fill_n(out_n, D, T{0});
      if (overwrite && pair < offsets[n + 1]) {
        const T* row = rows + row_of_pair[pair] * D;
        const T factor = scale(pair++);
        for (int64_t d = 0; d < D; ++d) out_n[d] = factor * row[d];
      }
      for (; pair < offsets[n + 1]; ++pair) {
        const T* row = rows + row_of_pair[pair] * D;
        const T factor = scale(pair);
        for (int64_t d = 0; d < D; ++d) out_n[d] += factor * row[d];
      }
    }
  });
}

// dy[row, :] = weight * dout[token, :]     dweight = dout[token, :] . y[row, :]
template <class T>
void combine_backward(const Tensor& y, const Routing& routing, const Tensor& dout,
                      const GradSlot& dy, const GradSlot& dweights) {
  const int64_t D = y.last_dim();
  const int32_t* token_of_row = routing.token_of_row.data<int32_t>();
  const int32_t* pair_of_row = routing.pair_of_row.data<int32_t>();
  const T *weights = routing.weights.data<T>(), *y_rows = y.data<T>(), *douts = dout.data<T>();
  T* dy_rows = dy ? dy.grad.data<T>() : nullptr;
  T* dweight = dweights ? dweights.grad.data<T>() : nullptr;
  const bool overwrite_dy = dy.overwrite, overwrite_dweight = dweights.overwrite;
  parallel_for(routing.pairs(), row_grain(2 * D), [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const T* dout_n = douts + token_of_row[row] * D;
      const int64_t pair = pair_of_row[row];
      const T weight = weights[pair];
      if (dy_rows != nullptr && overwrite_dy) {
        T* dy_row = dy_rows + row * D;
        for (int64_t d = 0; d < D; ++d) dy_row[d] = weight * dout_n[d];
      } else if (dy_rows != nullptr) {
        axpy(weight, dout_n, dy_rows + row * D, D);
      }
      if (dweight != nullptr) {
        accumulate(dweight[pair], dot(dout_n, y_rows + row * D, D), overwrite_dweight);
      }
    }
  });
}

template <class T>
void combine_backward_cuda(const Tensor& y, const Routing& routing, const Tensor& dout,
                           const GradSlot& dy, const GradSlot& dweights) {
  cuda::sum_pairs_backward(
      plan_of<T>(routing), y.device_data<T>(), routing.weights.device_data<float>(),
      dout.device_data<T>(), y.last_dim(), dy ? dy.grad.device_data<T>() : nullptr, dy.overwrite,
      dweights ? dweights.grad.device_data<float>() : nullptr, dweights.overwrite, stream_of(y));
}

}  // namespace

Tensor dispatch_tokens(Tape& tape, const Tensor& x, const Routing& routing) {
  check(kDispatch, "x", x, routing.tokens(), routing);
  const int64_t D = x.last_dim();
  const Tensor out({routing.rows(), D}, x.dtype(), x.device());
  dispatch(
      kDispatch, x, [&]<class T>(T) { copy_rows<T>(x, routing, out); },
      [&]<class T>(T) {
        cuda::gather_rows(plan_of<T>(routing), x.device_data<T>(), D, out.device_data<T>(),
                          stream_of(x));
      });
  tape.record(kDispatch, {x}, out, [x, routing, D](Tape& walk, const Tensor& dout) {
    const GradSlot dx = walk.slot(x);
    dispatch(
        kDispatch, x,
        [&]<class T>(T) {
          sum_rows(dout.data<T>(), routing, D, dx.grad.data<T>(), dx.overwrite,
                   [](int64_t) { return T{1}; });
        },
        [&]<class T>(T) {
          cuda::sum_pairs<T>(plan_of<T>(routing), dout.device_data<T>(), nullptr, D,
                             dx.grad.device_data<T>(), dx.overwrite, stream_of(x));
        });
  });
  return out;
}

Tensor combine_tokens(Tape& tape, const Tensor& y, const Routing& routing) {
  check(kCombine, "y", y, routing.rows(), routing);
  const int64_t D = y.last_dim();
  const Tensor out({routing.tokens(), D}, y.dtype(), y.device());
  dispatch(
      kCombine, y,
      [&]<class T>(T) {
        const T* weights = routing.weights.data<T>();
        sum_rows(y.data<T>(), routing, D, out.data<T>(), true,
                 [weights](int64_t pair) { return weights[pair]; });
      },
      [&]<class T>(T) {
        cuda::sum_pairs(plan_of<T>(routing), y.device_data<T>(),
                        routing.weights.device_data<float>(), D, out.device_data<T>(), true,
                        stream_of(y));
      });
  tape.record(kCombine, {y, routing.weights}, out, [y, routing](Tape& walk, const Tensor& dout) {
    const GradSlot dy = walk.slot(y), dweights = walk.slot(routing.weights);
    dispatch(
        kCombine, y, [&]<class T>(T) { combine_backward<T>(y, routing, dout, dy, dweights); },
        [&]<class T>(T) { combine_backward_cuda<T>(y, routing, dout, dy, dweights); });
  });
  return out;
}

}  // namespace offshoot
