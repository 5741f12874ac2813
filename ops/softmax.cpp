#include "ops/softmax.h"

#include "cuda/softmax.h"
#include "engine/parallel.h"
#include "ops/exponentials.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kSoftmax = "softmax";
constexpr std::string_view kLogSoftmax = "log_softmax";

// What a row costs in cheap elements (row_grain()), also a short one.
int64_t forward_cost(int64_t C) { return 6 * C + 32; }
int64_t backward_cost(int64_t C) { return 2 * C + 16; }

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

// along[r] = sum_c y[r,c] g[r,c]
template <class T>
void row_products(const T* y, const T* g, int64_t rows, int64_t C, T* along) {
  if (C > kNarrowRow) {
    for (int64_t r = 0; r < rows; ++r) along[r] = dot(y + r * C, g + r * C, C);
    return;
  }
  T terms[kExponentialRows * kNarrowRow];
  for (int64_t i = 0; i < rows * C; ++i) terms[i] = y[i] * g[i];
  reduce_rows(
      terms, rows, C, along, [](T a, T b) { return a + b; }, row_sum<T>);
}

template <class T>
void softmax_backward(const Tensor& out, const Tensor& dout, const GradSlot& dx) {
  const int64_t C = out.last_dim();
  const bool overwrite = dx.overwrite;
  const T *const y = out.data<T>(), *const g = dout.data<T>();
  T* const dx_data = dx.grad.data<T>();
  parallel_for(row_count(out), row_grain(backward_cost(C)), [=](int64_t first, int64_t last) {
    each_exponential_block(first, last, [=](int64_t n, int64_t rows) {
      T along[kExponentialRows];
      row_products(y + n * C, g + n * C, rows, C, along);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t begin = (n + r) * C;
        for (int64_t c = 0; c < C; ++c) {
          accumulate(dx_data[begin + c], y[begin + c] * (g[begin + c] - along[r]), overwrite);
        }
      }
    });
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
  const T *const out_data = out.data<T>(), *const dout_data = dout.data<T>();
  T* const dx_data = dx.grad.data<T>();
  parallel_for(row_count(out), row_grain(forward_cost(C)), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const T *const y = out_data + n * C, *const g = dout_data + n * C;
      T* const dx_n = dx_data + n * C;
      const T sum = row_sum(g, C);
      for (int64_t c = 0; c < C; ++c) {
        accumulate(dx_n[c], g[c] - vexp_nonpositive(y[c]) * sum, overwrite);
      }
    }
  });
}

struct Softmax {
  static constexpr std::string_view kName = kSoftmax;

  template <class T>
  static void forward(const Tensor& x, const Tensor& out) {
    softmax_forward<T>(x, out);
  }
  template <class T>
  static void backward(const Tensor& out, const Tensor& dout, const GradSlot& dx) {
    softmax_backward<T>(out, dout, dx);
  }
  template <class T>
  static void forward_cuda(const Tensor& x, const Tensor& out) {
    cuda::softmax_forward(x.device_data<T>(), row_count(x), x.last_dim(), out.device_data<T>(),
                          stream_of(x));
  }
  template <class T>
  static void backward_cuda(const Tensor& out, const Tensor& dout, const GradSlot& dx) {
    cuda::softmax_backward(out.device_data<T>(), dout.device_data<T>(), row_count(out),
                           out.last_dim(), dx.grad.device_data<T>(), dx.overwrite, stream_of(out));
  }
};

struct LogSoftmax {
  static constexpr std::string_view kName = kLogSoftmax;

  template <class T>
  static void forward(const Tensor& x, const Tensor& out) {
    log_softmax_forward<T>(x, out);
  }
  template <class T>
  static void backward(const Tensor& out, const Tensor& dout, const GradSlot& dx) {
    log_softmax_backward<T>(out, dout, dx);
  }
  template <class T>
  static void forward_cuda(const Tensor& x, const Tensor& out) {
    cuda::log_softmax_forward(x.device_data<T>(), row_count(x), x.last_dim(), out.device_data<T>(),
                              stream_of(x));
  }
  template <class T>
  static void backward_cuda(const Tensor& out, const Tensor& dout, const GradSlot& dx) {
    cuda::log_softmax_backward(out.device_data<T>(), dout.device_data<T>(), row_count(out),
                               out.last_dim(), dx.grad.device_data<T>(), dx.overwrite,
                               stream_of(out));
  }
};

template <class Function>
Tensor recorded(Tape& tape, const Tensor& x) {
  constexpr std::string_view kName = Function::kName;
  check_float(kName, "x", x);
  check_rows(kName, "x", x);
  const Tensor out(x.shape(), x.dtype(), x.device());
  dispatch(
      kName, x, [&]<class T>(T) { Function::template forward<T>(x, out); },
      [&]<class T>(T) { Function::template forward_cuda<T>(x, out); });
  tape.record(kName, {x}, out, [x, out](Tape& walk, const Tensor& dout) {
    const GradSlot dx = walk.slot(x);
    dispatch(
        Function::kName, x, [&]<class T>(T) { Function::template backward<T>(out, dout, dx); },
        [&]<class T>(T) { Function::template backward_cuda<T>(out, dout, dx); });
  });
  return out;
}

}  // namespace

Tensor softmax(Tape& tape, const Tensor& x) { return recorded<Softmax>(tape, x); }
Tensor log_softmax(Tape& tape, const Tensor& x) { return recorded<LogSoftmax>(tape, x); }

}  // namespace offshoot
