#include "ops/row_norms.h"

#include <cmath>

#include "cuda/row_norms.h"
#include "engine/parallel.h"
#include "ops/op.h"
#include "ops/reduce_kernels.h"

namespace offshoot {
namespace {

constexpr std::string_view kNorms = "row_norms";
constexpr std::string_view kNormalize = "normalize_rows";
using cuda::kLeastNorm;

void check(std::string_view op, const Tensor& x) {
  check_float(op, "x", x);
  check_parameter(op, "x", x, x);
  check_rows(op, "x", x);
}

// Calls f(r) for every row, in parallel.
template <class F>
void each_row(int64_t R, int64_t D, F f) {
  parallel_for(R, row_grain(2 * D), [f](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) f(r);
  });
}

// norms [R] f64
template <class T>
void norms_of(const Tensor& x, const Tensor& norms) {
  const int64_t D = x.last_dim();
  const T* const rows = x.data<T>();
  double* const to = norms.data<double>();
  each_row(row_count(x), D,
           [=](int64_t r) { to[r] = std::sqrt(double_dot(rows + r * D, rows + r * D, D)); });
}

template <class T>
void row_norms_backward(const Tensor& x, const Tensor& norms, const Tensor& dout,
                        const GradSlot& dx) {
  const int64_t D = x.last_dim();
  const T *const rows = x.data<T>(), *const g = dout.data<T>();
  const double* const norm = norms.data<double>();
  T* const grad = dx.grad.data<T>();
  each_row(row_count(x), D, [=, overwrite = dx.overwrite](int64_t r) {
    // NaN stays NaN.
    const double factor = norm[r] == 0 ? 0.0 : static_cast<double>(g[r]) / norm[r];
    for (int64_t i = r * D; i < (r + 1) * D; ++i) {
      accumulate(grad[i], static_cast<T>(factor * rows[i]), overwrite);
    }
  });
}

template <class T>
void normalize(const Tensor& x, const Tensor& norms, const Tensor& out) {
  norms_of<T>(x, norms);
  const int64_t D = x.last_dim();
  const T* const rows = x.data<T>();
  const double* const norm = norms.data<double>();
  T* const to = out.data<T>();
  each_row(row_count(x), D, [=](int64_t r) {
    const double divisor = std::max(norm[r], kLeastNorm);
    for (int64_t i = r * D; i < (r + 1) * D; ++i) to[i] = static_cast<T>(rows[i] / divisor);
  });
}

template <class T>
void normalize_backward(const Tensor& out, const Tensor& norms, const Tensor& dout,
                        const GradSlot& dx) {
  const int64_t D = out.last_dim();
  const T *const y = out.data<T>(), *const g = dout.data<T>();
  const double* const norm = norms.data<double>();
  T* const grad = dx.grad.data<T>();
  each_row(row_count(out), D, [=, overwrite = dx.overwrite](int64_t r) {
    const bool is_short = norm[r] < kLeastNorm;
    const double along = is_short ? 0.0 : double_dot(y + r * D, g + r * D, D);
    const double divisor = is_short ? kLeastNorm : norm[r];
    for (int64_t i = r * D; i < (r + 1) * D; ++i) {
      accumulate(grad[i], static_cast<T>((g[i] - along * y[i]) / divisor), overwrite);
    }
  });
}

// Calls cpu(T{}) with the C++ type of x, or cuda(float{}).
template <class Cpu, class Cuda>
void dispatch_rows(std::string_view op, const Tensor& x, Cpu&& cpu, Cuda&& on_cuda) {
  if constexpr (kHasCuda) {
    if (x.device().is_cuda()) return on_cuda(float{});
  }
  dispatch_float(op, x.dtype(), std::forward<Cpu>(cpu));
}

}  // namespace

Tensor row_norms(Tape& tape, const Tensor& x) {
  check(kNorms, x);
  check_rank(kNorms, "x", x, 2);
  const int64_t R = x.dim(0), D = x.last_dim();
  const Tensor norms({R}, DType::f64, x.device()), out({R}, x.dtype(), x.device());
  dispatch_rows(
      kNorms, x,
      [&]<class T>(T) {
        norms_of<T>(x, norms);
        std::ranges::transform(norms.elements<double>(), out.data<T>(),
                               [](double norm) { return static_cast<T>(norm); });
      },
      [&]<class T>(T) {
        cuda::row_norms_forward(x.device_data<T>(), R, D, norms.device_data<double>(),
                                out.device_data<T>(), stream_of(x));
      });
  tape.record(kNorms, {x}, out, [x, norms, R, D](Tape& walk, const Tensor& dout) {
    const GradSlot dx = walk.slot(x);
    dispatch_rows(
        kNorms, x, [&]<class T>(T) { row_norms_backward<T>(x, norms, dout, dx); },
        [&]<class T>(T) {
          cuda::row_norms_backward(x.device_data<T>(), norms.device_data<double>(),
                                   dout.device_data<T>(), R, D, dx.grad.device_data<T>(),
                                   dx.overwrite, stream_of(x));
        });
  });
  return out;
}

Tensor normalize_rows(Tape& tape, const Tensor& x) {
  check(kNormalize, x);
  const int64_t R = row_count(x), D = x.last_dim();
  const Tensor norms({R}, DType::f64, x.device()), out(x.shape(), x.dtype(), x.device());
  dispatch_rows(
      kNormalize, x, [&]<class T>(T) { normalize<T>(x, norms, out); },
      [&]<class T>(T) {
        cuda::normalize_rows_forward(x.device_data<T>(), R, D, norms.device_data<double>(),
                                     out.device_data<T>(), stream_of(x));
      });
  tape.record(kNormalize, {x}, out, [x, norms, out, R, D](Tape& walk, const Tensor& dout) {
    const GradSlot dx = walk.slot(x);
    dispatch_rows(
        kNormalize, out, [&]<class T>(T) { normalize_backward<T>(out, norms, dout, dx); },
        [&]<class T>(T) {
          cuda::normalize_rows_backward(out.device_data<T>(), norms.device_data<double>(),
                                        dout.device_data<T>(), R, D, dx.grad.device_data<T>(),
                                        dx.overwrite, stream_of(out));
        });
  });
  return out;
}

}  // namespace offshoot
