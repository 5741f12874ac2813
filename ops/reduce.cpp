#include "ops/reduce.h"

#include <algorithm>
#include <vector>

#include "cuda/reduce.h"
#include "engine/parallel.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr int64_t kBlock = 4096;  // elements of one partial sum

// x seen as [outer, count, inner], reduced over the middle.
struct Extent {
  int64_t outer = 1, count = 1, inner = 1;
  Shape out;
};

Extent along_axis(std::string_view op, const Tensor& x, int64_t axis, bool keep) {
  check_defined(op, "x", x);
  const int a = x.shape().axis(axis, op);
  Extent extent;
  for (int i = 0; i < a; ++i) extent.outer *= x.shape()[i];
  for (int i = a + 1; i < x.rank(); ++i) extent.inner *= x.shape()[i];
  extent.count = x.shape()[a];
  extent.out = keep ? x.shape().with(a, 1) : x.shape().without(a);
  return extent;
}

void check_not_empty(std::string_view op, const Tensor& x, int64_t count) {
  if (count < 1) {
    fail(op, "x: got shape {}, expected at least one element to reduce", to_string(x.shape()));
  }
}

template <class T>
T whole_sum(const Tensor& x) {
  const T* const data = x.data<T>();
  const int64_t blocks = (x.size() + kBlock - 1) / kBlock;
  std::vector<T> partial(static_cast<size_t>(blocks));
  parallel_for(blocks, 4, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      T sum = 0;
      for (int64_t i = b * kBlock; i < std::min(x.size(), (b + 1) * kBlock); ++i) sum += data[i];
      partial[static_cast<size_t>(b)] = sum;
    }
  });
  T sum = 0;
  for (const T part : partial) sum += part;
  return sum;
}

template <class T>
void sum_along(const Extent& e, const Tensor& x, const Tensor& out, T factor) {
  const T* const data = x.data<T>();
  T* const sums = out.data<T>();
  parallel_for(e.outer, row_grain(e.count * e.inner), [&](int64_t first, int64_t last) {
    for (int64_t o = first; o < last; ++o) {
      T* const row = sums + o * e.inner;
      std::fill_n(row, e.inner, T{0});
      for (int64_t c = 0; c < e.count; ++c) {
        const T* const from = data + (o * e.count + c) * e.inner;
        for (int64_t i = 0; i < e.inner; ++i) row[i] += from[i];
      }
      for (int64_t i = 0; i < e.inner; ++i) row[i] *= factor;
    }
  });
}

// dx = factor * dout, repeated along the axis.
template <class T>
void spread(const Extent& e, const Tensor& dout, const GradSlot& dx, T factor) {
  const T* const g = dout.data<T>();
  T* const to = dx.grad.data<T>();
  parallel_for(e.outer, row_grain(e.count * e.inner), [&](int64_t first, int64_t last) {
    for (int64_t o = first; o < last; ++o) {
      for (int64_t c = 0; c < e.count; ++c) {
        T* const row = to + (o * e.count + c) * e.inner;
        for (int64_t i = 0; i < e.inner; ++i) {
          accumulate(row[i], factor * g[o * e.inner + i], dx.overwrite);
        }
      }
    }
  });
}

// x reduced over the middle axis: the result, x.
cuda::Walk reduced_walk(const Extent& e) {
  cuda::Walk walk;
  walk.add_axis(e.inner, {1, 1});
  walk.add_axis(e.count, {0, e.inner});
  walk.add_axis(e.outer, {e.inner, e.count * e.inner});
  return walk;
}

template <class T>
void sum_cuda(const Extent& e, const Tensor& x, const Tensor& out, double factor) {
  const cuda::Walk walk = reduced_walk(e);
  const Tensor scratch({cuda::reduction_scratch(walk)}, DType::f32, x.device());
  cuda::sum_forward(walk, x.device_data<T>(), static_cast<float>(factor),
                    scratch.device_data<float>(), out.device_data<T>(), stream_of(x));
}

template <class T>
void spread_cuda(const Extent& e, const Tensor& dout, const GradSlot& dx, double factor) {
  cuda::Walk walk;
  walk.add_axis(e.inner, {1, 1});
  walk.add_axis(e.count, {e.inner, 0});
  walk.add_axis(e.outer, {e.count * e.inner, e.inner});
  cuda::sum_backward(walk, dout.device_data<T>(), static_cast<float>(factor),
                     dx.grad.device_data<T>(), dx.overwrite, stream_of(dout));
}

// The mean is a sum times 1 / count.
Tensor scaled_sum(Tape& tape, std::string_view op, const Tensor& x, const Extent& e, double factor,
                  bool whole) {
  const Tensor out(e.out, x.dtype(), x.device());
  dispatch(
      op, x,
      [&]<class T>(T) {
        if (whole) {
          out.data<T>()[0] = static_cast<T>(factor) * whole_sum<T>(x);
        } else {
          sum_along<T>(e, x, out, static_cast<T>(factor));
        }
      },
      [&]<class T>(T) { sum_cuda<T>(e, x, out, factor); });
  tape.record(op, {x}, out, [op, x, e, factor](Tape& walk, const Tensor& dout) {
    dispatch(
        op, dout, [&]<class T>(T) { spread<T>(e, dout, walk.slot(x), static_cast<T>(factor)); },
        [&]<class T>(T) { spread_cuda<T>(e, dout, walk.slot(x), factor); });
  });
  return out;
}

Extent whole_extent(const Tensor& x) { return {1, x.size(), 1, {}}; }

double one_over(int64_t count) { return 1.0 / static_cast<double>(count); }

// The first largest element's index along the axis, for every (outer, inner), and its value where
// `largest` is defined.
template <class T>
void find_winners(const Extent& e, const Tensor& x, const Tensor& winners, const Tensor& largest) {
  const T* const data = x.data<T>();
  T* const values = largest.defined() ? largest.data<T>() : nullptr;
  int64_t* const indices = winners.data<int64_t>();
  for (int64_t o = 0; o < e.outer; ++o) {
    for (int64_t i = 0; i < e.inner; ++i) {
      const T* const first = data + o * e.count * e.inner + i;
      int64_t best = 0;
      for (int64_t c = 1; c < e.count; ++c) {
        if (first[c * e.inner] > first[best * e.inner]) best = c;
      }
      indices[o * e.inner + i] = best;
      if (values != nullptr) values[o * e.inner + i] = first[best * e.inner];
    }
  }
}

template <class T>
void find_winners_cuda(const Extent& e, const Tensor& x, const Tensor& winners,
                       const Tensor& largest) {
  const cuda::Walk walk = reduced_walk(e);
  const int64_t scratch_bytes = cuda::reduction_scratch(walk) * int64_t{sizeof(cuda::Winner)};
  const Tensor scratch({scratch_bytes / element_bytes(DType::i64)}, DType::i64, x.device());
  cuda::max_forward(walk, x.device_data<T>(), reinterpret_cast<cuda::Winner*>(scratch.address()),
                    largest.defined() ? largest.device_data<T>() : nullptr,
                    winners.device_data<int64_t>(), stream_of(x));
}

Tensor winners_of(std::string_view op, const Extent& e, const Tensor& x, const Tensor& largest) {
  const Tensor winners(e.out, DType::i64, x.device());
  dispatch(
      op, x, [&]<class T>(T) { find_winners<T>(e, x, winners, largest); },
      [&]<class T>(T) { find_winners_cuda<T>(e, x, winners, largest); });
  return winners;
}

// dx += dout at the winners.
template <class T>
void add_to_winners(const Extent& e, const Tensor& winners, const Tensor& dout, const Tensor& dx) {
  const int64_t* const indices = winners.data<int64_t>();
  for (int64_t row = 0; row < winners.size(); ++row) {
    const int64_t at = (row / e.inner * e.count + indices[row]) * e.inner + row % e.inner;
    dx.data<T>()[at] += dout.data<T>()[row];
  }
}

template <class T>
void add_to_winners_cuda(const Extent& e, const Tensor& winners, const Tensor& dout,
                         const Tensor& dx) {
  cuda::max_backward(winners.device_data<int64_t>(), dout.device_data<T>(), e.outer, e.count,
                     e.inner, dx.device_data<T>(), stream_of(dout));
}

Tensor max_over(Tape& tape, const Tensor& x, const Extent& e) {
  constexpr std::string_view kName = "max";
  check_float(kName, "x", x);
  check_not_empty(kName, x, e.count);
  const Tensor out(e.out, x.dtype(), x.device());
  const Tensor winners = winners_of(kName, e, x, out);
  tape.record(kName, {x}, out, [x, e, winners](Tape& walk, const Tensor& dout) {
    const GradSlot dx = walk.slot(x);
    if (dx.overwrite) fill_zero(dx.grad);
    dispatch(
        kName, dout, [&]<class T>(T) { add_to_winners<T>(e, winners, dout, dx.grad); },
        [&]<class T>(T) { add_to_winners_cuda<T>(e, winners, dout, dx.grad); });
  });
  return out;
}

}  // namespace

Tensor sum(Tape& tape, const Tensor& x) {
  check_float("sum", "x", x);
  return scaled_sum(tape, "sum", x, whole_extent(x), 1.0, true);
}

Tensor mean(Tape& tape, const Tensor& x) {
  check_float("mean", "x", x);
  check_not_empty("mean", x, x.size());
  return scaled_sum(tape, "mean", x, whole_extent(x), one_over(x.size()), true);
}

Tensor max(Tape& tape, const Tensor& x) {
  check_defined("max", "x", x);
  return max_over(tape, x, whole_extent(x));
}

Tensor sum(Tape& tape, const Tensor& x, int64_t axis, bool keep) {
  check_float("sum", "x", x);
  return scaled_sum(tape, "sum", x, along_axis("sum", x, axis, keep), 1.0, false);
}

Tensor mean(Tape& tape, const Tensor& x, int64_t axis, bool keep) {
  check_float("mean", "x", x);
  const Extent e = along_axis("mean", x, axis, keep);
  check_not_empty("mean", x, e.count);
  return scaled_sum(tape, "mean", x, e, one_over(e.count), false);
}

Tensor max(Tape& tape, const Tensor& x, int64_t axis, bool keep) {
  return max_over(tape, x, along_axis("max", x, axis, keep));
}

Tensor argmax(const Tensor& x, int64_t axis) {
  check_float("argmax", "x", x);
  const Extent e = along_axis("argmax", x, axis, false);
  check_not_empty("argmax", x, e.count);
  return winners_of("argmax", e, x, Tensor());
}

}  // namespace offshoot
