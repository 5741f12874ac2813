#include "ops/softmax.h"

#include "engine/parallel.h"
#include "ops/exponentials.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kSoftmax = "softmax";
constexpr std::string_view kLogSoftmax = "log_softmax";

// What a row costs in cheap elements (row_grain()), also a short one.
int64_t forward_cost(int64_t C) { return 6 * C + 32; }
int64_t backward_cost(int64_t C) { return 2 * C + 32; }

// Calls row(out_n, dout_n, dx_n) on every row.
template <class T, class Row>
void each_row(const Tensor& out, const Tensor& dout, const GradSlot& dx, int64_t cost, Row&& row) {
  const int64_t C = out.last_dim();
  const T *const y = out.data<T>(), *const g = dout.data<T>();
  T* const dx_data = dx.grad.data<T>();
  parallel_for(row_count(out), row_grain(cost), [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) row(y + n * C, g + n * C, dx_data + n * C);
  });
}

template <class T>
void softmax_forward(const Tensor& x, const Tensor& out) {
  const int64_t C = x.last_dim();
  const T* const x_data = x.data<T>();
  T* const out_data = out.data<T>();
  parallel_for(row_count(x), row_grain(forward_cost(C)), [=](int64_t first, int64_t last) {
    each_exponential_block(first, last, [=](int64_t n, int64_t rows) {
      T largest[kExponentialRows], sums[kExponentialRows];
      T* const block = out_data + n * C;
      exponentials(kSoftmax, x_data + n * C, rows, C, block, largest, sums);
      for (int64_t r = 0; r < rows; ++r) {
        const T scale = 1 / sums[r];
        for (int64_t c = 0; c < C; ++c) block[r * C + c] *= scale;
      }
    });
  });
}

template <class T>
void softmax_backward(const Tensor& out, const Tensor& dout, const GradSlot& dx) {
  const int64_t C = out.last_dim();
  const bool overwrite = dx.overwrite;
  each_row<T>(out, dout, dx, backward_cost(C), [=](const T* y, const T* g, T* dx_n) {
    const T along = dot(y, g, C);
    for (int64_t c = 0; c < C; ++c) accumulate(dx_n[c], y[c] * (g[c] - along), overwrite);
  });
}

template <class T>
void log_softmax_forward(const Tensor& x, const Tensor& out) {
  const int64_t C = x.last_dim();
  const T* const x_data = x.data<T>();
  T* const out_data = out.data<T>();
  parallel_for(row_count(x), row_grain(forward_cost(C)), [=](int64_t first, int64_t last) {
    each_exponential_block(first, last, [=](int64_t n, int64_t rows) {
      T largest[kExponentialRows], sums[kExponentialRows];
      const T* const x_block = x_data + n * C;
      T* const block = out_data + n * C;
      exponentials(kLogSoftmax, x_block, rows, C, block, largest, sums);
      for (int64_t r = 0; r < rows; ++r) {
        const T log_sum = vlog(sums[r]);
        // Not x - (largest + log_sum): a large element would cost the digits of the logarithm.
        for (int64_t c = 0; c < C; ++c) {
          block[r * C + c] = (x_block[r * C + c] - largest[r]) - log_sum;
        }
      }
    });
  });
}

template <class T>
void log_softmax_backward(const Tensor& out, const Tensor& dout, const GradSlot& dx) {
  const int64_t C = out.last_dim();
  const bool overwrite = dx.overwrite;
  each_row<T>(out, dout, dx, forward_cost(C), [=](const T* y, const T* g, T* dx_n) {
    const T sum = row_sum(g, C);
    for (int64_t c = 0; c < C; ++c)
      accumulate(dx_n[c], g[c] - vexp_nonpositive(y[c]) * sum, overwrite);
  });
}

}  // namespace

Tensor softmax(Tape& tape, const Tensor& x) {
  check_float(kSoftmax, "x", x);
  check_rows(kSoftmax, "x", x);
  const Tensor out(x.shape(), x.dtype());
  dispatch_float(kSoftmax, x.dtype(), [&]<class T>(T) { softmax_forward<T>(x, out); });
  tape.record(kSoftmax, {x}, out, [x, out](Tape& walk, const Tensor& dout) {
    dispatch_float(kSoftmax, x.dtype(),
                   [&]<class T>(T) { softmax_backward<T>(out, dout, walk.slot(x)); });
  });
  return out;
}

Tensor log_softmax(Tape& tape, const Tensor& x) {
  check_float(kLogSoftmax, "x", x);
  check_rows(kLogSoftmax, "x", x);
  const Tensor out(x.shape(), x.dtype());
  dispatch_float(kLogSoftmax, x.dtype(), [&]<class T>(T) { log_softmax_forward<T>(x, out); });
  tape.record(kLogSoftmax, {x}, out, [x, out](Tape& walk, const Tensor& dout) {
    dispatch_float(kLogSoftmax, x.dtype(),
                   [&]<class T>(T) { log_softmax_backward<T>(out, dout, walk.slot(x)); });
  });
  return out;
}

}  // namespace offshoot
