#include "ops/grouped_gemm.h"

#include <algorithm>

#include "engine/parallel.h"
#include "ops/bias.h"
#include "ops/elementwise.h"
#include "ops/grouped_kernels.h"
#include "ops/op.h"
#include "ops/vector_math.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "grouped_linear";

struct Saved {
  Tensor x, weight, bias, offsets;
  Tensor pre;  // undefined without GELU
};

std::span<const int64_t> offsets_of(const Tensor& offsets) { return offsets.elements<int64_t>(); }

template <class T>
void forward(const Saved& saved, const Tensor& out) {
  const int64_t H = saved.weight.dim(1), D = saved.weight.dim(2);
  const bool gelu = saved.pre.defined();
  T* const target = gelu ? saved.pre.data<T>() : out.data<T>();
  T* const activated = out.data<T>();
  const T* bias = nullptr;
  if (saved.bias.defined()) bias = saved.bias.data<T>();
  const ExpertMatrices<T> weights{transposed<T>(saved.weight.data<T>(), D), H * D};
  grouped_gemm_then<T>(offsets_of(saved.offsets), H, D, plain<T>(saved.x.data<T>(), D), weights,
                       target, H, true, [=](int64_t expert, int64_t first, int64_t last) {
                         if (bias != nullptr) add_bias(target, first, last, H, bias + expert * H);
                         if (!gelu) return;
                         for (int64_t i = first * H; i < last * H; ++i)
                           activated[i] = vgelu(target[i]);
                       });
}

// dbias[e, :] (+)= the sum of the expert's rows of g, in row order.
template <class T>
void add_expert_sums(const T* g, std::span<const int64_t> offsets, int64_t H,
                     const GradSlot& dbias) {
  if (!dbias) return;
  T* const grad = dbias.grad.data<T>();
  parallel_tasks(static_cast<int64_t>(offsets.size()) - 1, [&](int64_t e) {
    T* const row = grad + e * H;
    if (dbias.overwrite) std::fill_n(row, H, T{0});
    for (int64_t r = offsets[static_cast<size_t>(e)]; r < offsets[static_cast<size_t>(e) + 1];
         ++r) {
      for (int64_t h = 0; h < H; ++h) row[h] += g[r * H + h];
    }
  });
}

// The gradient before the epilogue.
template <class T>
Tensor before_epilogue(const Saved& saved, const Tensor& dout) {
  if (!saved.pre.defined()) return dout;
  const Tensor dpre(dout.shape(), dout.dtype());
  const T* const g = dout.data<T>();
  const T* const pre = saved.pre.data<T>();
  T* const to = dpre.data<T>();
  parallel_for(dout.size(), kElementGrain / 8, [=](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) to[i] = g[i] * vgelu_derivative(pre[i]);
  });
  return dpre;
}

template <class T>
void backward(Tape& walk, const Saved& saved, const Tensor& dout) {
  const int64_t H = saved.weight.dim(1), D = saved.weight.dim(2);
  const auto offsets = offsets_of(saved.offsets);
  const Tensor dpre = before_epilogue<T>(saved, dout);
  const T* const g = dpre.data<T>();
  if (const GradSlot dx = walk.slot(saved.x)) {
    const ExpertMatrices<T> weights{plain<T>(saved.weight.data<T>(), D), H * D};
    grouped_gemm<T>(offsets, D, H, plain<T>(g, H), weights, dx.grad.data<T>(), D, dx.overwrite);
  }
  if (const GradSlot dweight = walk.slot(saved.weight)) {
    const T* const x = saved.x.data<T>();
    grouped_gemm_weights<T>(offsets, H, D, g, H, x, D, dweight.grad.data<T>(), H * D,
                            dweight.overwrite);
  }
  add_expert_sums(g, offsets, H, walk.slot(saved.bias));
}

void check(const Saved& s) {
  check_float(kName, "x", s.x);
  check_rank(kName, "x", s.x, 2);
  check_rank(kName, "weight", s.weight, 3);
  check_dtype(kName, "weight", s.weight, s.x.dtype());
  const int64_t E = s.weight.dim(0), H = s.weight.dim(1);
  check_shape(kName, "weight", s.weight, {E, H, s.x.dim(1)});
  if (s.bias.defined()) {
    check_shape(kName, "bias", s.bias, {E, H});
    check_dtype(kName, "bias", s.bias, s.x.dtype());
  }
  check_dtype(kName, "expert_offsets", s.offsets, DType::i64);
  check_shape(kName, "expert_offsets", s.offsets, {E + 1});
  const auto offsets = offsets_of(s.offsets);
  if (offsets.front() != 0 || offsets.back() != s.x.dim(0) || !std::ranges::is_sorted(offsets)) {
    fail(kName, "expert_offsets: got {}..{}, expected to rise from 0 to {}", offsets.front(),
         offsets.back(), s.x.dim(0));
  }
}

}  // namespace

Tensor grouped_linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const Tensor& expert_offsets, Epilogue epilogue) {
  Saved saved{x, weight, bias, expert_offsets, {}};
  check(saved);
  const Tensor out({x.dim(0), weight.dim(1)}, x.dtype());
  if (epilogue == Epilogue::gelu) saved.pre = Tensor(out.shape(), out.dtype());
  dispatch_float(kName, x.dtype(), [&]<class T>(T) { forward<T>(saved, out); });
  tape.record(kName, {x, weight, bias}, out, [saved](Tape& walk, const Tensor& dout) {
    dispatch_float(kName, dout.dtype(), [&]<class T>(T) { backward<T>(walk, saved, dout); });
  });
  return out;
}

Tensor grouped_linear_reference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& expert_offsets, Epilogue epilogue) {
  check({x, weight, bias, expert_offsets, {}});
  const int64_t H = weight.dim(1), D = weight.dim(2);
  const Tensor out({x.dim(0), H}, x.dtype());
  const auto offsets = offsets_of(expert_offsets);
  dispatch_float(kName, x.dtype(), [&]<class T>(T) {
    for (int64_t e = 0; e < weight.dim(0); ++e) {
      for (int64_t r = offsets[static_cast<size_t>(e)]; r < offsets[static_cast<size_t>(e) + 1];
           ++r) {
        for (int64_t h = 0; h < H; ++h) {
          T sum = 0;
          for (int64_t d = 0; d < D; ++d) {
            sum += x.data<T>()[r * D + d] * weight.data<T>()[(e * H + h) * D + d];
          }
          if (bias.defined()) sum += bias.data<T>()[e * H + h];
          out.data<T>()[r * H + h] = epilogue == Epilogue::gelu ? vgelu(sum) : sum;
        }
      }
    }
  });
  return out;
}

}  // namespace offshoot
