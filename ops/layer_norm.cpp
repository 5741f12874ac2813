#include "ops/layer_norm.h"

#include <cmath>

#include "cuda/layer_norm.h"
#include "engine/parallel.h"
#include "ops/op.h"
#include "ops/reduce_kernels.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "layer_norm";

// The parameters' gradients are summed by blocks of this many rows, then over blocks: an order
// that does not depend on the number of threads.
constexpr int64_t kBlockRows = 128;

constexpr int64_t kPasses = 3;  // over a row, to choose a parallel range

template <class T>
void forward(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
             const Tensor& mean, const Tensor& rstd, const Tensor& out) {
  const int64_t D = x.last_dim();
  const T *const x_data = x.data<T>(), *const w = weight.data<T>(), *const b = bias.data<T>();
  T *const out_data = out.data<T>(), *const means = mean.data<T>(), *const rstds = rstd.data<T>();
  parallel_for(mean.size(), row_grain(kPasses * D), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const T* x_n = x_data + n * D;
      T* out_n = out_data + n * D;
      const T m = row_sum(x_n, D) / static_cast<T>(D);
      // Two passes: E[x^2] - E[x]^2 cancels when the mean is large.
      const T squares = sum_of<T>(D, [=](int64_t d) { return (x_n[d] - m) * (x_n[d] - m); });
      const T r = 1 / std::sqrt(squares / static_cast<T>(D) + static_cast<T>(eps));
      for (int64_t d = 0; d < D; ++d) out_n[d] = (x_n[d] - m) * r * w[d] + b[d];
      means[n] = m;
      rstds[n] = r;
    }
  });
}

// One row of dx. With xhat = (x - mean) rstd and g = dout * weight:
//   dx = rstd (g - mean_d(g) - xhat mean_d(g xhat))
template <class T>
void backward_x(const T* x, const T* w, const T* dout, T mean, T rstd, int64_t D, T* dx,
                bool overwrite) {
  const T scale = 1 / static_cast<T>(D);
  const T g_mean = dot(dout, w, D) * scale;
  const T g_xhat_mean =
      sum_of<T>(D, [=](int64_t d) { return dout[d] * w[d] * (x[d] - mean); }) * rstd * scale;
  for (int64_t d = 0; d < D; ++d) {
    const T xhat = (x[d] - mean) * rstd;
    accumulate(dx[d], rstd * (dout[d] * w[d] - g_mean - xhat * g_xhat_mean), overwrite);
  }
}

// One row's share of dweight = sum_n dout xhat and dbias = sum_n dout.
template <class T>
void add_parameter_terms(const T* x, const T* dout, T mean, T rstd, int64_t D, T* weight_sum,
                         T* bias_sum) {
  for (int64_t d = 0; d < D; ++d) {
    weight_sum[d] += dout[d] * (x[d] - mean) * rstd;
    bias_sum[d] += dout[d];
  }
}

// slot (+)= sum over blocks of sums[block, :], whose rows lie `stride` apart.
template <class T>
void add_blocks(const T* sums, int64_t blocks, int64_t stride, const GradSlot& slot) {
  if (!slot) return;
  T* grad = slot.grad.data<T>();
  const int64_t D = slot.grad.size();
  if (slot.overwrite) std::fill_n(grad, D, T{0});
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t d = 0; d < D; ++d) grad[d] += sums[block * stride + d];
  }
}

template <class T>
void backward(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
              const Tensor& dout, const GradSlot& dx, const GradSlot& dweight,
              const GradSlot& dbias) {
  const int64_t N = mean.size(), D = x.last_dim();
  const bool parameters = dweight || dbias;
  const int64_t blocks = (N + kBlockRows - 1) / kBlockRows;
  const Tensor sums({parameters ? blocks : 0, 2, D}, x.dtype());
  const T *const x_data = x.data<T>(), *const w = weight.data<T>(), *const g = dout.data<T>(),
                 *const means = mean.data<T>(), *const rstds = rstd.data<T>();
  T* const dx_data = dx ? dx.grad.data<T>() : nullptr;
  T* const sums_data = sums.data<T>();
  const int64_t grain = std::max<int64_t>(1, row_grain(kPasses * D) / kBlockRows);
  parallel_for(blocks, grain, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      T *const weight_sum = sums_data + block * 2 * D, *const bias_sum = weight_sum + D;
      if (parameters) std::fill_n(weight_sum, 2 * D, T{0});
      for (int64_t n = block * kBlockRows; n < std::min(N, (block + 1) * kBlockRows); ++n) {
        const T *const x_n = x_data + n * D, *const g_n = g + n * D;
        if (dx) backward_x(x_n, w, g_n, means[n], rstds[n], D, dx_data + n * D, dx.overwrite);
        if (parameters) {
          add_parameter_terms(x_n, g_n, means[n], rstds[n], D, weight_sum, bias_sum);
        }
      }
    }
  });
  add_blocks(sums_data, blocks, 2 * D, dweight);
  add_blocks(sums_data + D, blocks, 2 * D, dbias);
}

template <class T>
void forward_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                  const Tensor& mean, const Tensor& rstd, const Tensor& out) {
  cuda::layer_norm_forward(x.device_data<T>(), weight.device_data<float>(),
                           bias.device_data<float>(), static_cast<float>(eps), mean.size(),
                           x.last_dim(), mean.device_data<float>(), rstd.device_data<float>(),
                           out.device_data<T>(), stream_of(x));
}

template <class T>
void backward_cuda(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                   const Tensor& dout, const GradSlot& dx, const GradSlot& dweight,
                   const GradSlot& dbias) {
  const int64_t N = mean.size(), D = x.last_dim();
  const float *const means = mean.device_data<float>(), *const rstds = rstd.device_data<float>();
  const T *const x_data = x.device_data<T>(), *const g = dout.device_data<T>();
  const cuda::Stream stream = stream_of(x);
  if (dx) {
    cuda::layer_norm_backward_x(x_data, weight.device_data<float>(), means, rstds, g, N, D,
                                dx.grad.device_data<T>(), dx.overwrite, stream);
  }
  if (!dweight && !dbias) return;
  const Tensor sums({cuda::layer_norm_scratch(N, D)}, DType::f32, x.device());
  cuda::layer_norm_backward_parameters(
      x_data, means, rstds, g, N, D, sums.device_data<float>(),
      dweight ? dweight.grad.device_data<float>() : nullptr, dweight.overwrite,
      dbias ? dbias.grad.device_data<float>() : nullptr, dbias.overwrite, stream);
}

}  // namespace

Tensor layer_norm(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  double eps) {
  check_float(kName, "x", x);
  check_rows(kName, "x", x);
  for (const auto& [what, tensor] : {std::pair("weight", weight), std::pair("bias", bias)}) {
    check_shape(kName, what, tensor, {x.last_dim()});
    check_parameter(kName, what, tensor, x);
  }
  if (!(eps > 0)) fail(kName, "eps: got {}, expected a positive number", eps);

  const Shape rows{row_count(x)};
  const Tensor out(x.shape(), x.dtype(), x.device());
  const Tensor mean(rows, weight.dtype(), x.device()), rstd(rows, weight.dtype(), x.device());
  dispatch(
      kName, x, [&]<class T>(T) { forward<T>(x, weight, bias, eps, mean, rstd, out); },
      [&]<class T>(T) { forward_cuda<T>(x, weight, bias, eps, mean, rstd, out); });
  tape.record(
      kName, {x, weight, bias}, out, [x, weight, bias, mean, rstd](Tape& walk, const Tensor& dout) {
        const GradSlot dx = walk.slot(x), dweight = walk.slot(weight), dbias = walk.slot(bias);
        dispatch(
            kName, x,
            [&]<class T>(T) { backward<T>(x, weight, mean, rstd, dout, dx, dweight, dbias); },
            [&]<class T>(T) { backward_cuda<T>(x, weight, mean, rstd, dout, dx, dweight, dbias); });
      });
  return out;
}

}  // namespace offshoot
