#include "ops/attention.h"

#include <array>
#include <cmath>
#include <type_traits>

#include "cuda/attention.h"
#include "engine/parallel.h"
#include "ops/attention_kernel.h"
#include "ops/op.h"

namespace offshoot {
namespace {

using attention_kernel::Head;
using attention_kernel::kKeys;
using attention_kernel::kQueries;
using attention_kernel::Rows;

// Columns [first, first + D) of a tensor [B, T, ...].
struct Columns {
  Tensor tensor;
  int64_t first = 0;

  // On CUDA, those of all heads in all sequences.
  template <class T>
  cuda::AttentionRows<T> device_rows() const {
    const int64_t stride = tensor.last_dim();
    return {tensor.device_data<std::remove_const_t<T>>() + first, stride, tensor.dim(1) * stride};
  }

  // Those of one head in one sequence.
  template <class T>
  Rows<T> rows(int64_t batch, int64_t column) const {
    const int64_t stride = tensor.last_dim();
    return {tensor.data<std::remove_const_t<T>>() + batch * tensor.dim(1) * stride + first + column,
            stride};
  }
};

// Everything that was given, checked.
struct Problem {
  Columns q, k, v;
  int64_t B, Tq, Tk, heads, Dh;
  double scale;
  bool causal;
  Tensor key_mask;

  int64_t tasks() const { return B * heads; }
  // Of a parallel range; a pair of query and key counts as Dh cheap elements about.
  int64_t grain() const { return row_grain(Tq * Tk * Dh); }

  template <class T>
  Head<T> head(int64_t task) const {
    const int64_t batch = task / heads, column = task % heads * Dh;
    return {q.rows<const T>(batch, column),
            k.rows<const T>(batch, column),
            v.rows<const T>(batch, column),
            Tq,
            Tk,
            Dh,
            static_cast<T>(scale),
            causal,
            key_mask.defined() ? key_mask.data<int32_t>() + batch * Tk : nullptr};
  }
  template <class T>
  cuda::Attention<T> on_device() const {
    return {q.device_rows<const T>(),
            k.device_rows<const T>(),
            v.device_rows<const T>(),
            B,
            Tq,
            Tk,
            heads,
            Dh,
            static_cast<float>(scale),
            causal,
            key_mask.defined() ? key_mask.device_data<int32_t>() : nullptr};
  }
};

// Working memory of one thread: `count` numbers each, at least a cache line apart.
template <class T, size_t N>
class Buffers {
 public:
  explicit Buffers(const std::array<int64_t, N>& counts) {
    int64_t total = 0;
    for (size_t i = 0; i < N; ++i) {
      offsets_[i] = total;
      total += attention_kernel::round_up(counts[i], 64 / sizeof(T));
    }
    memory_ = Tensor({total}, dtype_of<T>);
  }
  T* operator[](size_t i) const { return memory_.data<T>() + offsets_[i]; }

 private:
  Tensor memory_;
  std::array<int64_t, N> offsets_{};
};

template <class T>
void forward(const Problem& problem, const Tensor& out, const Tensor& log_sums) {
  const Columns out_columns{out};
  parallel_for(problem.tasks(), problem.grain(), [&](int64_t first, int64_t last) {
    constexpr int64_t L = kQueries<T>;
    const int64_t padded = problem.head<T>(first).padded();
    const Buffers<T, 5> b({L * padded, padded * L, kKeys * L, problem.Tk * padded, L * padded});
    const attention_kernel::ForwardBuffers<T> to{b[0], b[1], b[2], b[3], b[4]};
    for (int64_t task = first; task < last; ++task) {
      const int64_t batch = task / problem.heads, column = task % problem.heads * problem.Dh;
      attention_kernel::forward<T>(problem.head<T>(task), out_columns.rows<T>(batch, column),
                                   log_sums.data<T>() + task * problem.Tq, to);
    }
  });
}

struct Gradients {
  GradSlot dq, dk, dv;
};

template <class T>
attention_kernel::GradRows<T> grad_rows(const GradSlot& slot, int64_t first, int64_t batch,
                                        int64_t column) {
  if (!slot) return {};
  return {Columns{slot.grad, first}.rows<T>(batch, column), slot.overwrite};
}

template <class T>
void backward(const Problem& problem, const Tensor& out, const Tensor& log_sums, const Tensor& dout,
              const Gradients& to) {
  const Columns out_columns{out}, dout_columns{dout};
  parallel_for(problem.tasks(), problem.grain(), [&](int64_t first, int64_t last) {
    constexpr int64_t L = kQueries<T>;
    const int64_t padded = problem.head<T>(first).padded();
    const int64_t some = L * padded, all = problem.Tk * padded, scores = kKeys * L;
    const Buffers<T, 11> b({some, some, some, some, some, some, scores, scores, all, all, all});
    const attention_kernel::BackwardBuffers<T> buffers{b[0], b[1], b[2], b[3], b[4], b[5],
                                                       b[6], b[7], b[8], b[9], b[10]};
    for (int64_t task = first; task < last; ++task) {
      const int64_t batch = task / problem.heads, column = task % problem.heads * problem.Dh;
      attention_kernel::backward<T>(problem.head<T>(task), out_columns.rows<const T>(batch, column),
                                    log_sums.data<T>() + task * problem.Tq,
                                    dout_columns.rows<const T>(batch, column),
                                    grad_rows<T>(to.dq, problem.q.first, batch, column),
                                    grad_rows<T>(to.dk, problem.k.first, batch, column),
                                    grad_rows<T>(to.dv, problem.v.first, batch, column), buffers);
    }
  });
}

// Memory for one call of a launcher, given back when this dies: later work is ordered behind it.
class DeviceScratch {
 public:
  explicit DeviceScratch(Device device) : device_(device) {}

  cuda::Scratch giver() {
    return [this](int64_t bytes) -> void* {
      memory_ = Tensor({(bytes + 3) / 4}, DType::i32, device_);
      return memory_.address();
    };
  }

 private:
  Device device_;
  Tensor memory_;
};

template <class T>
void forward_cuda(const Problem& problem, const Tensor& out, const Tensor& log_sums) {
  DeviceScratch scratch(out.device());
  cuda::attention_forward(problem.on_device<T>(), Columns{out}.device_rows<T>(),
                          log_sums.device_data<float>(), scratch.giver(), out.device().index,
                          stream_of(out));
}

template <class T>
cuda::AttentionGradient<T> device_gradient(const GradSlot& slot, int64_t first) {
  if (!slot) return {};
  return {Columns{slot.grad, first}.device_rows<T>(), slot.overwrite};
}

template <class T>
void backward_cuda(const Problem& problem, const Tensor& out, const Tensor& log_sums,
                   const Tensor& dout, const Gradients& to) {
  DeviceScratch scratch(out.device());
  const cuda::AttentionBackward<T> back{Columns{out}.device_rows<const T>(),
                                        Columns{dout}.device_rows<const T>(),
                                        log_sums.device_data<float>(),
                                        device_gradient<T>(to.dq, problem.q.first),
                                        device_gradient<T>(to.dk, problem.k.first),
                                        device_gradient<T>(to.dv, problem.v.first)};
  cuda::attention_backward(problem.on_device<T>(), back, scratch.giver(), out.device().index,
                           stream_of(out));
}

Problem make_problem(std::string_view op, const Columns& q, const Columns& k, const Columns& v,
                     int64_t D, const AttentionOptions& options) {
  Problem problem{q,
                  k,
                  v,
                  q.tensor.dim(0),
                  q.tensor.dim(1),
                  k.tensor.dim(1),
                  options.heads,
                  0,
                  options.scale,
                  options.causal,
                  options.key_mask};
  if (options.heads < 1 || D < 1 || D % options.heads != 0) {
    fail(op, "heads: got {}, expected a divisor of {} columns", options.heads, D);
  }
  problem.Dh = D / options.heads;
  if (q.tensor.device().is_cuda() && problem.Dh > cuda::kMaxAttentionColumns) {
    fail(op, "columns of a head: got {} on CUDA, expected at most {}", problem.Dh,
         cuda::kMaxAttentionColumns);
  }
  if (!(options.scale >= 0) || !std::isfinite(options.scale)) {
    fail(op, "scale: got {}, expected a positive number, or 0", options.scale);
  }
  if (options.scale == 0) problem.scale = 1 / std::sqrt(static_cast<double>(problem.Dh));
  if (options.causal && problem.Tq != problem.Tk) {
    fail(op, "causal: got {} queries and {} keys, expected as many", problem.Tq, problem.Tk);
  }
  if (options.key_mask.defined()) {
    check_shape(op, "key_mask", options.key_mask, {problem.B, problem.Tk});
    check_dtype(op, "key_mask", options.key_mask, DType::i32);
    problem.key_mask = options.key_mask.to(q.tensor.device());
  }
  return problem;
}

constexpr std::string_view kAttention = "attention";
constexpr std::string_view kSelfAttention = "self_attention";

Problem make_problem(const Tensor& q, const Tensor& k, const Tensor& v,
                     const AttentionOptions& options) {
  check_float(kAttention, "q", q);
  check_rank(kAttention, "q", q, 3);
  check_rank(kAttention, "k", k, 3);
  check_shape(kAttention, "k", k, {q.dim(0), k.dim(1), q.dim(2)});
  check_shape(kAttention, "v", v, k.shape());
  check_like(kAttention, "k", k, q);
  check_like(kAttention, "v", v, q);
  return make_problem(kAttention, {q}, {k}, {v}, q.dim(2), options);
}

Tensor run(Tape& tape, std::string_view op, const Problem& problem) {
  const Tensor &q = problem.q.tensor, &k = problem.k.tensor, &v = problem.v.tensor;
  const Tensor out({problem.B, problem.Tq, problem.heads * problem.Dh}, q.dtype(), q.device());
  const DType sums = q.device().is_cuda() ? DType::f32 : q.dtype();
  const Tensor log_sums({problem.tasks(), problem.Tq}, sums, q.device());
  dispatch(
      op, q, [&]<class T>(T) { forward<T>(problem, out, log_sums); },
      [&]<class T>(T) { forward_cuda<T>(problem, out, log_sums); });
  const bool packed = q.key() == k.key() && problem.k.first != problem.q.first;
  tape.record(
      op, {q, k, v}, out, [op, problem, packed, out, log_sums](Tape& walk, const Tensor& dout) {
        const GradSlot dq = walk.slot(problem.q.tensor);
        // Three parts of one tensor do not overlap; three uses of one tensor are in turn.
        const Gradients to =
            packed ? Gradients{dq, dq, dq}
                   : Gradients{dq, walk.slot(problem.k.tensor), walk.slot(problem.v.tensor)};
        dispatch(
            op, out, [&]<class T>(T) { backward<T>(problem, out, log_sums, dout, to); },
            [&]<class T>(T) { backward_cuda<T>(problem, out, log_sums, dout, to); });
      });
  return out;
}

}  // namespace

Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v,
                 const AttentionOptions& options) {
  return run(tape, kAttention, make_problem(q, k, v, options));
}

Tensor self_attention(Tape& tape, const Tensor& qkv, const AttentionOptions& options) {
  check_float(kSelfAttention, "qkv", qkv);
  check_rank(kSelfAttention, "qkv", qkv, 3);
  const int64_t D = qkv.dim(2) / 3;
  check_shape(kSelfAttention, "qkv", qkv, {qkv.dim(0), qkv.dim(1), 3 * D});
  return run(tape, kSelfAttention,
             make_problem(kSelfAttention, {qkv, 0}, {qkv, D}, {qkv, 2 * D}, D, options));
}

Tensor attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                           const AttentionOptions& options) {
  const Problem problem = make_problem(q, k, v, options);
  const Tensor out = Tensor::zeros(q.shape(), q.dtype());
  dispatch_float(kAttention, q.dtype(), [&]<class T>(T) {
    const Tensor scores({problem.Tk}, q.dtype());
    T* const p = scores.data<T>();
    for (int64_t task = 0; task < problem.tasks(); ++task) {
      const Head<T> head = problem.head<T>(task);
      const Rows<T> rows =
          Columns{out}.rows<T>(task / problem.heads, task % problem.heads * head.Dh);
      for (int64_t i = 0; i < head.Tq; ++i) {
        T sum = 0;
        for (int64_t j = 0; j < head.Tk; ++j) {
          const bool hidden =
              (head.causal && j > i) || (head.key_mask != nullptr && head.key_mask[j] == 0);
          T score = 0;
          for (int64_t d = 0; d < head.Dh; ++d) score += head.q[i][d] * head.k[j][d];
          p[j] = hidden ? T{0} : std::exp(head.scale * score);
          sum += p[j];
        }
        for (int64_t j = 0; j < head.Tk && sum > 0; ++j) {
          for (int64_t d = 0; d < head.Dh; ++d) rows[i][d] += p[j] / sum * head.v[j][d];
        }
      }
    }
  });
  return out;
}

}  // namespace offshoot
