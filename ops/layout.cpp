#include "ops/layout.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "cuda/layout.h"
#include "engine/parallel.h"
#include "ops/elementwise.h"
#include "ops/op.h"

namespace offshoot {
namespace {

// `rows` runs of `run` elements, from and to places that lie a fixed stride apart.
struct Runs {
  int64_t rows, run, from_offset, from_stride, to_offset, to_stride;

  Runs reversed() const { return {rows, run, to_offset, to_stride, from_offset, from_stride}; }
};

template <class T>
void move_runs(const Runs& runs, const T* from, T* to, bool overwrite) {
  parallel_for(runs.rows, row_grain(runs.run), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const T* const source = from + runs.from_offset + row * runs.from_stride;
      accumulate_range(to + runs.to_offset + row * runs.to_stride, 0, runs.run, overwrite,
                       [=](int64_t i) { return source[i]; });
    }
  });
}

int64_t product(const Shape& shape, int first, int last) {
  int64_t size = 1;
  for (int i = first; i < last; ++i) size *= shape[i];
  return size;
}

template <class T>
void move_runs_cuda(const Runs& runs, const Tensor& from, const GradSlot& to) {
  cuda::Walk walk;
  walk.add_axis(runs.run, {1, 1});
  walk.add_axis(runs.rows, {runs.to_stride, runs.from_stride});
  cuda::move_elements(walk, from.device_data<T>() + runs.from_offset,
                      to.grad.device_data<T>() + runs.to_offset, to.overwrite, stream_of(from));
}

// Backward of a slice or a part of a concatenation: dx gets the runs of dout.
void add_runs(std::string_view op, const Runs& runs, const Tensor& from, const GradSlot& to) {
  if (!to) return;
  dispatch(
      op, from,
      [&]<class T>(T) { move_runs<T>(runs, from.data<T>(), to.grad.data<T>(), to.overwrite); },
      [&]<class T>(T) { move_runs_cuda<T>(runs, from, to); });
}

// parts[i] has size sizes[i] along `axis` of a result of shape `shape`.
Tensor join(Tape& tape, std::string_view op, std::span<const Tensor> parts,
            const std::vector<int64_t>& sizes, const Shape& shape, int axis) {
  const Tensor out(shape, parts[0].dtype(), parts[0].device());
  const int64_t rows = product(shape, 0, axis), inner = product(shape, axis + 1, shape.rank());
  const int64_t out_stride = shape[axis] * inner;
  std::vector<Runs> runs;
  int64_t at = 0;
  for (const int64_t size : sizes) {
    const int64_t run = size * inner;
    runs.push_back({rows, run, 0, run, at * inner, out_stride});
    at += size;
  }
  for (size_t i = 0; i < parts.size(); ++i) add_runs(op, runs[i], parts[i], {out, true});
  std::vector<Tensor> inputs(parts.begin(), parts.end());
  tape.record(op, parts, out, [op, inputs, runs](Tape& walk, const Tensor& dout) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      add_runs(op, runs[i].reversed(), dout, walk.slot(inputs[i]));
    }
  });
  return out;
}

void check_parts(std::string_view op, std::span<const Tensor> parts) {
  if (parts.empty()) fail(op, "parts: got none, expected at least one");
  for (const Tensor& part : parts) {
    check_float(op, "part", part);
    check_like(op, "part", part, parts[0]);
  }
}

// x seen as [a, m, b, n, c]; out is [a, n, b, m, c].
struct Swap {
  int64_t a, m, b, n, c;
};

template <class T>
void swap_axes(const Swap& s, const T* from, T* to, bool overwrite) {
  parallel_for(s.a * s.n, row_grain(s.b * s.m * s.c), [&](int64_t first, int64_t last) {
    for (int64_t an = first; an < last; ++an) {
      const int64_t a = an / s.n, n = an % s.n;
      for (int64_t b = 0; b < s.b; ++b) {
        for (int64_t m = 0; m < s.m; ++m) {
          const T* const source = from + (((a * s.m + m) * s.b + b) * s.n + n) * s.c;
          T* const target = to + ((an * s.b + b) * s.m + m) * s.c;
          accumulate_range(target, 0, s.c, overwrite, [=](int64_t i) { return source[i]; });
        }
      }
    }
  });
}

template <class T>
void swap_axes_cuda(const Swap& s, const Tensor& from, const GradSlot& to) {
  const T* const source = from.device_data<T>();
  T* const target = to.grad.device_data<T>();
  if (s.b == 1 && s.c == 1) {
    cuda::transpose_matrices(source, s.a, s.m, s.n, target, to.overwrite, stream_of(from));
    return;
  }
  cuda::Walk walk;  // the result [a, n, b, m, c], from the inside
  walk.add_axis(s.c, {1, 1});
  walk.add_axis(s.m, {s.c, s.b * s.n * s.c});
  walk.add_axis(s.b, {s.m * s.c, s.n * s.c});
  walk.add_axis(s.n, {s.b * s.m * s.c, s.c});
  walk.add_axis(s.a, {s.n * s.b * s.m * s.c, s.m * s.b * s.n * s.c});
  cuda::move_elements(walk, source, target, to.overwrite, stream_of(from));
}

void swap_axes(std::string_view op, const Swap& s, const Tensor& from, const GradSlot& to) {
  dispatch(
      op, from,
      [&]<class T>(T) { swap_axes<T>(s, from.data<T>(), to.grad.data<T>(), to.overwrite); },
      [&]<class T>(T) { swap_axes_cuda<T>(s, from, to); });
}

}  // namespace

Tensor slice(Tape& tape, const Tensor& x, int64_t axis, int64_t first, int64_t count) {
  constexpr std::string_view kName = "slice";
  check_float(kName, "x", x);
  const int a = x.shape().axis(axis, kName);
  if (first < 0 || count < 0 || count > x.shape()[a] - first) {
    fail(kName, "range: got {} from {} on, expected within the {} of axis {}", count, first,
         x.shape()[a], axis);
  }
  const Tensor out(x.shape().with(a, count), x.dtype(), x.device());
  const int64_t inner = product(x.shape(), a + 1, x.rank());
  const Runs runs{product(x.shape(), 0, a),
                  count * inner,
                  first * inner,
                  x.shape()[a] * inner,
                  0,
                  count * inner};
  add_runs(kName, runs, x, {out, true});
  tape.record(kName, {x}, out, [x, runs](Tape& walk, const Tensor& dout) {
    GradSlot dx = walk.slot(x);
    if (std::exchange(dx.overwrite, false)) fill_zero(dx.grad);  // dout covers a part only
    add_runs(kName, runs.reversed(), dout, dx);
  });
  return out;
}

Tensor reshape(Tape& tape, const Tensor& x, const Shape& shape) {
  check_float("reshape", "x", x);
  if (shape.size() != x.size()) {
    fail("reshape", "shape: got {}, expected the size of {}", to_string(shape),
         to_string(x.shape()));
  }
  const Tensor out = x.view(shape);
  tape.record("reshape", {x}, out,
              [x](Tape& walk, const Tensor& dout) { walk.give(x, dout.view(x.shape())); });
  return out;
}

Tensor concat(Tape& tape, std::span<const Tensor> parts, int64_t axis) {
  check_parts("concat", parts);
  const Shape& first = parts[0].shape();
  const int a = first.axis(axis, "concat");
  std::vector<int64_t> sizes;
  int64_t total = 0;
  for (const Tensor& part : parts) {
    if (part.rank() != first.rank() || part.shape().with(a, 0) != first.with(a, 0)) {
      fail("concat", "part: got shape {}, expected {} but for axis {}", to_string(part.shape()),
           to_string(first), axis);
    }
    sizes.push_back(part.shape()[a]);
    total += part.shape()[a];
  }
  return join(tape, "concat", parts, sizes, first.with(a, total), a);
}

Tensor stack(Tape& tape, std::span<const Tensor> parts, int64_t axis) {
  check_parts("stack", parts);
  const Shape& first = parts[0].shape();
  for (const Tensor& part : parts) check_shape("stack", "part", part, first);
  if (first.rank() == Shape::kMaxRank) {
    fail("stack", "part: got shape {}, expected at most {} axes", to_string(first),
         Shape::kMaxRank - 1);
  }
  const Shape shape = first.inserted(0, static_cast<int64_t>(parts.size()));
  const int a = shape.axis(axis, "stack");  // the new axis, counted in the result
  return join(tape, "stack", parts, std::vector<int64_t>(parts.size(), 1),
              first.inserted(a, static_cast<int64_t>(parts.size())), a);
}

Tensor transpose(Tape& tape, const Tensor& x, int64_t axis_a, int64_t axis_b) {
  constexpr std::string_view kName = "transpose";
  check_float(kName, "x", x);
  const int one = x.shape().axis(axis_a, kName), two = x.shape().axis(axis_b, kName);
  const int a = std::min(one, two), b = std::max(one, two);
  const Shape& shape = x.shape();
  const Tensor out(shape.with(a, shape[b]).with(b, shape[a]), x.dtype(), x.device());
  const Swap forward = a == b ? Swap{1, 1, 1, 1, shape.size()}
                              : Swap{product(shape, 0, a), shape[a], product(shape, a + 1, b),
                                     shape[b], product(shape, b + 1, x.rank())};
  swap_axes(kName, forward, x, {out, true});
  tape.record(kName, {x}, out, [x, forward](Tape& walk, const Tensor& dout) {
    const Swap back{forward.a, forward.n, forward.b, forward.m, forward.c};
    swap_axes(kName, back, dout, walk.slot(x));
  });
  return out;
}

}  // namespace offshoot
