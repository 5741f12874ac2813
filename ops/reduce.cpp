#include "ops/reduce.h"

#include <algorithm>
#include <vector>

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

// The mean is a sum times 1 / count.
Tensor scaled_sum(Tape& tape, std::string_view op, const Tensor& x, const Extent& e, double factor,
                  bool whole) {
  const Tensor out(e.out, x.dtype());
  dispatch_float(op, x.dtype(), [&]<class T>(T) {
    if (whole) {
      out.data<T>()[0] = static_cast<T>(factor) * whole_sum<T>(x);
    } else {
      sum_along<T>(e, x, out, static_cast<T>(factor));
    }
  });
  tape.record(op, {x}, out, [op, x, e, factor](Tape& walk, const Tensor& dout) {
    dispatch_float(op, dout.dtype(),
                   [&]<class T>(T) { spread<T>(e, dout, walk.slot(x), static_cast<T>(factor)); });
  });
  return out;
}

Extent whole_extent(const Tensor& x) { return {1, x.size(), 1, {}}; }

double one_over(int64_t count) { return 1.0 / static_cast<double>(count); }

// The first largest element's index along the axis, for every (outer, inner).
template <class T>
std::vector<int64_t> winners(const Extent& e, const Tensor& x) {
  const T* const data = x.data<T>();
  std::vector<int64_t> indices(static_cast<size_t>(e.outer * e.inner));
  for (int64_t o = 0; o < e.outer; ++o) {
    for (int64_t i = 0; i < e.inner; ++i) {
      const T* const first = data + o * e.count * e.inner + i;
      int64_t best = 0;
      for (int64_t c = 1; c < e.count; ++c) {
        if (first[c * e.inner] > first[best * e.inner]) best = c;
      }
      indices[static_cast<size_t>(o * e.inner + i)] = best;
    }
  }
  return indices;
}

Tensor max_over(Tape& tape, const Tensor& x, const Extent& e) {
  constexpr std::string_view kName = "max";
  check_float(kName, "x", x);
  check_not_empty(kName, x, e.count);
  const Tensor out(e.out, x.dtype());
  return dispatch_float(kName, x.dtype(), [&]<class T>(T) {
    // Offsets of the winners in x.
    std::vector<int64_t> offsets = winners<T>(e, x);
    for (size_t r = 0; r < offsets.size(); ++r) {
      const auto row = static_cast<int64_t>(r);
      offsets[r] = (row / e.inner * e.count + offsets[r]) * e.inner + row % e.inner;
      out.data<T>()[row] = x.data<T>()[offsets[r]];
    }
    tape.record(kName, {x}, out, [x, offsets](Tape& walk, const Tensor& dout) {
      const GradSlot dx = walk.slot(x);
      if (dx.overwrite) fill_zero(dx.grad);
      for (size_t r = 0; r < offsets.size(); ++r) {
        dx.grad.data<T>()[offsets[r]] += dout.data<T>()[r];
      }
    });
    return out;
  });
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
  return dispatch_float("argmax", x.dtype(), [&]<class T>(T) {
    return Tensor::from<int64_t>(e.out, std::span<const int64_t>(winners<T>(e, x)));
  });
}

}  // namespace offshoot
