#include "ops/matmul.h"

#include <algorithm>
#include <array>

#include "cuda/gemm.h"
#include "engine/parallel.h"
#include "ops/bias.h"
#include "ops/gemm.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "matmul";

// Multiply-adds that are worth handing to another thread.
constexpr int64_t kGrainProducts = 200'000;

struct Problem {
  Tensor a, b, bias;
  bool transpose_a, transpose_b;
  int64_t batches, M, N, K;
  bool shared_b;  // by all batches

  // Of one batch, after transposition; and the transposes of those.
  template <class T>
  MatrixView<T> op_a(int64_t batch) const {
    const T* const data = a.data<T>() + batch * M * K;
    return transpose_a ? transposed(data, M) : plain(data, K);
  }
  template <class T>
  MatrixView<T> op_b(int64_t batch) const {
    const T* const data = b.data<T>() + (shared_b ? 0 : batch * K * N);
    return transpose_b ? transposed(data, K) : plain(data, N);
  }
};

template <class T>
MatrixView<T> flipped(const MatrixView<T>& view) {
  return {view.data, view.column_stride, view.row_stride};
}

// Calls product(batch), either on several batches at once, or one after the other, each on all
// threads. In order where `in_order` says so.
template <class F>
void each_batch(const Problem& problem, bool in_order, F&& product) {
  if (in_order || problem.batches < num_threads()) {
    for (int64_t batch = 0; batch < problem.batches; ++batch) product(batch);
    return;
  }
  const int64_t size = std::max<int64_t>(1, problem.M * problem.N * problem.K);
  parallel_for(problem.batches, std::max<int64_t>(1, kGrainProducts / size),
               [&](int64_t first, int64_t last) {
                 for (int64_t batch = first; batch < last; ++batch) product(batch);
               });
}

template <class T>
void forward(const Problem& problem, const Tensor& out) {
  const int64_t M = problem.M, N = problem.N;
  const T* const bias = problem.bias.defined() ? problem.bias.data<T>() : nullptr;
  T* const out_data = out.data<T>();
  each_batch(problem, false, [&](int64_t batch) {
    T* const c = out_data + batch * M * N;
    gemm_then<T>(M, N, problem.K, problem.op_a<T>(batch), problem.op_b<T>(batch), c, N, true,
                 [=](int64_t first, int64_t last) {
                   if (bias != nullptr) add_bias(c, first, last, N, bias);
                 });
  });
}

// d op(a) = dout op(b)^T, or its transpose where a is stored so.
template <class T>
void backward_a(const Problem& problem, const T* dout, const GradSlot& da) {
  const auto [M, N, K] = std::array{problem.M, problem.N, problem.K};
  T* const grad = da.grad.data<T>();
  each_batch(problem, false, [&](int64_t batch) {
    const MatrixView<T> g = plain(dout + batch * M * N, N), b = problem.op_b<T>(batch);
    T* const c = grad + batch * M * K;
    if (problem.transpose_a) {
      gemm<T>(K, M, N, b, flipped(g), c, M, da.overwrite);
    } else {
      gemm<T>(M, K, N, g, flipped(b), c, K, da.overwrite);
    }
  });
}

// d op(b) = op(a)^T dout, or its transpose where b is stored so; summed over batches that share b.
template <class T>
void backward_b(const Problem& problem, const T* dout, const GradSlot& db) {
  const auto [M, N, K] = std::array{problem.M, problem.N, problem.K};
  if (problem.batches == 0 && db.overwrite) fill_zero(db.grad);
  T* const grad = db.grad.data<T>();
  each_batch(problem, problem.shared_b, [&](int64_t batch) {
    const MatrixView<T> g = plain(dout + batch * M * N, N), a = problem.op_a<T>(batch);
    T* const c = grad + (problem.shared_b ? 0 : batch * K * N);
    const bool overwrite = db.overwrite && !(problem.shared_b && batch > 0);
    if (problem.transpose_b) {
      gemm<T>(N, K, M, flipped(g), a, c, K, overwrite);
    } else {
      gemm<T>(K, N, M, flipped(a), g, c, N, overwrite);
    }
  });
}

// As many products as there are batches in one call: op(a) and op(b) row-major, as they are stored.
template <class T>
void forward_cuda(const Problem& problem, const Tensor& out) {
  const int64_t M = problem.M, N = problem.N, K = problem.K;
  cuda::Gemm product;
  product.M = M, product.N = N, product.K = K;
  product.a = problem.a.device_data<T>(), product.transpose_a = problem.transpose_a;
  product.b = problem.b.device_data<T>(), product.transpose_b = problem.transpose_b;
  product.c = out.device_data<T>();
  product.batch = problem.batches;
  product.stride_a = M * K, product.stride_b = problem.shared_b ? 0 : K * N;
  product.stride_c = M * N;
  if (problem.bias.defined()) {
    product.epilogue = cuda::GemmEpilogue::bias;
    product.bias = problem.bias.device_data<float>();
  }
  cuda::gemm(product, out.device().index, stream_of(out));
}

template <class T>
void backward_a_cuda(const Problem& problem, const Tensor& dout, const GradSlot& da) {
  const int64_t M = problem.M, N = problem.N, K = problem.K;
  cuda::Gemm product;
  const cuda::ConstElements g = dout.device_data<T>(), b = problem.b.device_data<T>();
  const int64_t stride_b = problem.shared_b ? 0 : K * N;
  if (problem.transpose_a) {
    product.M = K, product.N = M, product.K = N;
    product.a = b, product.transpose_a = problem.transpose_b, product.stride_a = stride_b;
    product.b = g, product.transpose_b = true, product.stride_b = M * N;
  } else {
    product.M = M, product.N = K, product.K = N;
    product.a = g, product.stride_a = M * N;
    product.b = b, product.transpose_b = !problem.transpose_b, product.stride_b = stride_b;
  }
  product.c = da.grad.device_data<T>(), product.overwrite = da.overwrite;
  product.batch = problem.batches, product.stride_c = M * K;
  cuda::gemm(product, dout.device().index, stream_of(dout));
}

// Batches that share b are added up one after the other.
template <class T>
void backward_b_cuda(const Problem& problem, const Tensor& dout, const GradSlot& db) {
  const int64_t M = problem.M, N = problem.N, K = problem.K;
  if (problem.batches == 0 && db.overwrite) fill_zero(db.grad);
  cuda::Gemm product;
  const cuda::ConstElements g = dout.device_data<T>(), a = problem.a.device_data<T>();
  if (problem.transpose_b) {
    product.M = N, product.N = K, product.K = M;
    product.a = g, product.transpose_a = true, product.stride_a = M * N;
    product.b = a, product.transpose_b = problem.transpose_a, product.stride_b = M * K;
  } else {
    product.M = K, product.N = N, product.K = M;
    product.a = a, product.transpose_a = !problem.transpose_a, product.stride_a = M * K;
    product.b = g, product.stride_b = M * N;
  }
  product.c = db.grad.device_data<T>(), product.overwrite = db.overwrite;
  if (!problem.shared_b) {
    product.batch = problem.batches, product.stride_c = K * N;
    return cuda::gemm(product, dout.device().index, stream_of(dout));
  }
  for (int64_t batch = 0; batch < problem.batches; ++batch) {
    cuda::gemm(product, dout.device().index, stream_of(dout));
    product.a = product.a + product.stride_a, product.b = product.b + product.stride_b;
    product.overwrite = false;
  }
}

// The sums of dout's rows: all that a product without columns does.
template <class T>
void backward_bias_cuda(const Problem& problem, const Tensor& dout, const GradSlot& dbias) {
  cuda::Gemm product;
  product.M = problem.N, product.N = 0, product.K = problem.batches * problem.M;
  product.a = dout.device_data<T>(), product.transpose_a = true;
  product.epilogue = cuda::GemmEpilogue::bias_gradient;
  product.b = cuda::ConstElements(nullptr, product.a.type);
  product.dbias = dbias.grad.device_data<float>(), product.overwrite_dbias = dbias.overwrite;
  cuda::gemm(product, dout.device().index, stream_of(dout));
}

Problem make_problem(const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  check_float(kName, "a", a);
  check_like(kName, "b", b, a);
  if (a.rank() < 2) {
    fail(kName, "a: got shape {}, expected at least 2 axes", to_string(a.shape()));
  }
  if (b.rank() != 2 && b.rank() != a.rank()) {
    fail(kName, "b: got shape {}, expected {} axes, or 2", to_string(b.shape()), a.rank());
  }
  const bool ta = options.transpose_a, tb = options.transpose_b;
  const int64_t M = a.dim(ta ? -1 : -2), K = a.dim(ta ? -2 : -1), N = b.dim(tb ? -2 : -1);
  const bool shared_b = b.rank() == 2;
  Shape expected = shared_b ? b.shape() : a.shape();
  expected = expected.with(b.rank() - 2, tb ? N : K).with(b.rank() - 1, tb ? K : N);
  check_shape(kName, "b", b, expected);
  if (options.bias.defined()) {
    check_shape(kName, "bias", options.bias, {N});
    check_parameter(kName, "bias", options.bias, a);
  }

  int64_t batches = 1;
  for (int axis = 0; axis + 2 < a.rank(); ++axis) batches *= a.dim(axis);
  // Batches that share b are one tall matrix, unless each is stored transposed.
  if (shared_b && !ta) return {a, b, options.bias, ta, tb, 1, batches * M, N, K, shared_b};
  return {a, b, options.bias, ta, tb, batches, M, N, K, shared_b};
}

}  // namespace

Tensor matmul(Tape& tape, const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  const Problem problem = make_problem(a, b, options);
  const int64_t rows = a.dim(options.transpose_a ? -1 : -2);
  const Tensor out(a.shape().with(a.rank() - 2, rows).with(a.rank() - 1, problem.N), a.dtype(),
                   a.device());
  dispatch(
      kName, a, [&]<class T>(T) { forward<T>(problem, out); },
      [&]<class T>(T) { forward_cuda<T>(problem, out); });
  tape.record(kName, {a, b, options.bias}, out, [problem](Tape& walk, const Tensor& dout) {
    dispatch(
        kName, dout,
        [&]<class T>(T) {
          const T* const g = dout.data<T>();
          if (const GradSlot da = walk.slot(problem.a)) backward_a<T>(problem, g, da);
          if (const GradSlot db = walk.slot(problem.b)) backward_b<T>(problem, g, db);
          add_column_sums(g, problem.batches * problem.M, problem.N, walk.slot(problem.bias));
        },
        [&]<class T>(T) {
          if (const GradSlot da = walk.slot(problem.a)) backward_a_cuda<T>(problem, dout, da);
          if (const GradSlot db = walk.slot(problem.b)) backward_b_cuda<T>(problem, dout, db);
          if (const GradSlot dbias = walk.slot(problem.bias)) {
            backward_bias_cuda<T>(problem, dout, dbias);
          }
        });
  });
  return out;
}

}  // namespace offshoot
