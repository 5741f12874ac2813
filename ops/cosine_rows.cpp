#include "ops/cosine_rows.h"

#include <cmath>

#include "cuda/cosine_rows.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "cosine_rows";

template <class T>
double dot(const T* a, const T* b, int64_t D) {
  double sum = 0;
  for (int64_t d = 0; d < D; ++d) sum += static_cast<double>(a[d]) * b[d];
  return sum;
}

template <class T>
double norm_of(const Tensor& w, int64_t row) {
  const T* const data = w.data<T>() + row * w.dim(1);
  const double norm = std::sqrt(dot(data, data, w.dim(1)));
  if (norm == 0) fail(kName, "row {}: got norm 0, expected a direction", row);
  return norm;
}

// With u = w / |w|:  dcos/dw_i = (u_j - cos u_i) / |w_i|
template <class T>
void add_gradient(const Tensor& w, int64_t i, int64_t j, double g, T* grad) {
  const int64_t D = w.dim(1);
  const T *const a = w.data<T>() + i * D, *const b = w.data<T>() + j * D;
  const double a_norm = norm_of<T>(w, i), b_norm = norm_of<T>(w, j);
  const double cosine = dot(a, b, D) / (a_norm * b_norm);
  for (int64_t d = 0; d < D; ++d) {
    const double direction = b[d] / b_norm - cosine * a[d] / a_norm;
    grad[i * D + d] += static_cast<T>(g * direction / a_norm);
  }
}

using Pairs = std::vector<std::pair<int64_t, int64_t>>;

template <class T>
void forward(const Tensor& w, const Pairs& pairs, const Tensor& out) {
  const int64_t D = w.dim(1);
  for (size_t m = 0; m < pairs.size(); ++m) {
    const auto [i, j] = pairs[m];
    const double product = dot(w.data<T>() + i * D, w.data<T>() + j * D, D);
    out.data<T>()[m] = static_cast<T>(product / (norm_of<T>(w, i) * norm_of<T>(w, j)));
  }
}

template <class T>
void backward(const Tensor& w, const Pairs& pairs, const Tensor& dout, const GradSlot& dw) {
  if (dw.overwrite) fill_zero(dw.grad);
  for (size_t m = 0; m < pairs.size(); ++m) {
    const auto [i, j] = pairs[m];
    const auto g = static_cast<double>(dout.data<T>()[m]);
    add_gradient<T>(w, i, j, g, dw.grad.data<T>());
    add_gradient<T>(w, j, i, g, dw.grad.data<T>());
  }
}

// [M, 2], on the device of `w`.
Tensor pairs_like(const Tensor& w, const Pairs& pairs) {
  const Tensor numbers({static_cast<int64_t>(pairs.size()), 2}, DType::i64);
  int64_t* to = numbers.data<int64_t>();
  for (const auto& [i, j] : pairs) {
    *to++ = i;
    *to++ = j;
  }
  return numbers.to(w.device());
}

template <class T>
Tensor cosine_rows_cuda(Tape& tape, const Tensor& w, const Pairs& pairs) {
  const int64_t M = static_cast<int64_t>(pairs.size());
  const Tensor numbers = pairs_like(w, pairs);
  const Tensor out({M}, DType::f32, w.device()), cosines({M, 3}, DType::f64, w.device());
  cuda::cosine_rows_forward(w.device_data<T>(), numbers.device_data<int64_t>(), M, w.dim(1),
                            out.device_data<T>(), cosines.device_data<double>(), stream_of(w));
  tape.record(kName, {w}, out, [w, numbers, cosines](Tape& walk, const Tensor& dout) {
    const GradSlot dw = walk.slot(w);
    cuda::cosine_rows_backward(w.device_data<T>(), numbers.device_data<int64_t>(),
                               cosines.device_data<double>(), dout.device_data<T>(), dout.size(),
                               w.dim(0), w.dim(1), dw.grad.device_data<T>(), dw.overwrite,
                               stream_of(w));
  });
  return out;
}

}  // namespace

Tensor cosine_rows(Tape& tape, const Tensor& w,
                   const std::vector<std::pair<int64_t, int64_t>>& pairs) {
  check_float(kName, "w", w);
  check_parameter(kName, "w", w, w);
  check_rank(kName, "w", w, 2);
  for (const auto& [i, j] : pairs) {
    for (const int64_t row : {i, j}) {
      if (row < 0 || row >= w.dim(0)) {
        fail(kName, "row: got {}, expected 0..{}", row, w.dim(0) - 1);
      }
    }
  }
  if constexpr (kHasCuda) {
    if (w.device().is_cuda()) return cosine_rows_cuda<float>(tape, w, pairs);
  }
  const Tensor out({static_cast<int64_t>(pairs.size())}, w.dtype());
  dispatch_float(kName, w.dtype(), [&]<class T>(T) { forward<T>(w, pairs, out); });
  tape.record(kName, {w}, out, [w, pairs](Tape& walk, const Tensor& dout) {
    const GradSlot dw = walk.slot(w);
    dispatch_float(kName, w.dtype(), [&]<class T>(T) { backward<T>(w, pairs, dout, dw); });
  });
  return out;
}

}  // namespace offshoot
