#include "ops/rows.h"

#include <algorithm>
#include <limits>

#include "cuda/rows.h"
#include "engine/parallel.h"
#include "ops/elementwise.h"
#include "ops/op.h"

namespace offshoot {
namespace {

// The index beside `x`, checked unless it is on a CUDA device already.
Tensor usable_index(std::string_view op, const Tensor& index, int64_t rows, const Tensor& x) {
  check_dtype(op, "index", index, DType::i64);
  check_rank(op, "index", index, 1);
  if (index.device().is_cuda()) {
    check_device(op, "index", index, x.device());
    return index;
  }
  for (const int64_t row : index.elements<int64_t>()) {
    if (row < 0 || row >= rows) fail(op, "index: got {}, expected 0..{}", row, rows - 1);
  }
  return index.to(x.device());
}

void check_rows_of(std::string_view op, const Tensor& x) {
  check_float(op, "x", x);
  if (x.rank() < 1) fail(op, "x: got a scalar, expected rows");
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Sorting on CUDA takes 32-bit numbers.
void check_counts(std::string_view op, const Tensor& x, const Tensor& index, int64_t rows) {
  const int64_t most = std::max(index.size(), rows);
  if (x.device().is_cuda() && most > std::numeric_limits<int32_t>::max()) {
    fail(op, "index: got {} rows or indices on CUDA, expected fewer than 2^31", most);
  }
}

int64_t row_size(const Tensor& x) { return x.shape().with(0, 1).size(); }

// to[m] = or += from[index[m]]; rows of `to` are independent.
template <class T>
void gather(const Tensor& from, const Tensor& index, const GradSlot& to) {
  const int64_t* const rows = index.data<int64_t>();
  const int64_t size = row_size(from);
  const T* const source = from.data<T>();
  T* const target = to.grad.data<T>();
  parallel_for(index.size(), row_grain(size), [&](int64_t first, int64_t last) {
    for (int64_t m = first; m < last; ++m) {
      const T* const row = source + rows[m] * size;
      accumulate_range(target + m * size, 0, size, to.overwrite, [=](int64_t i) { return row[i]; });
    }
  });
}

// to[index[m]] += from[m]. Threads own columns, so that sums run in the order of m.
template <class T>
void scatter(const Tensor& from, const Tensor& index, const GradSlot& to) {
  if (to.overwrite) fill_zero(to.grad);
  const int64_t* const rows = index.data<int64_t>();
  const int64_t size = row_size(from), count = index.size();
  const T* const source = from.data<T>();
  T* const target = to.grad.data<T>();
  parallel_for(size, std::max<int64_t>(16, row_grain(count)), [&](int64_t first, int64_t last) {
    for (int64_t m = 0; m < count; ++m) {
      for (int64_t i = first; i < last; ++i) target[rows[m] * size + i] += source[m * size + i];
    }
  });
}

// `missing` stands for a row whose index is out of range.
template <class T>
void gather_cuda(const Tensor& from, const Tensor& index, float missing, const GradSlot& to) {
  cuda::gather_rows(from.device_data<T>(), index.device_data<int64_t>(), index.size(), from.dim(0),
                    row_size(from), missing, to.grad.device_data<T>(), to.overwrite,
                    stream_of(from));
}

template <class T>
void scatter_cuda(const Tensor& from, const Tensor& index, const GradSlot& to) {
  const Tensor scratch({cuda::scatter_rows_bytes(index.size()) / element_bytes(DType::i32) + 1},
                       DType::i32, from.device());
  cuda::scatter_rows(from.device_data<T>(), index.device_data<int64_t>(), index.size(),
                     to.grad.dim(0), row_size(from), scratch.device_data<int32_t>(),
                     to.grad.device_data<T>(), to.overwrite, stream_of(from));
}

// to[index[m]] (+)= from[m]
void scatter(std::string_view op, const Tensor& from, const Tensor& index, const GradSlot& to) {
  dispatch(
      op, from, [&]<class T>(T) { scatter<T>(from, index, to); },
      [&]<class T>(T) { scatter_cuda<T>(from, index, to); });
}

// to[m] (+)= from[index[m]]
void gather(std::string_view op, const Tensor& from, const Tensor& index, float missing,
            const GradSlot& to) {
  dispatch(
      op, from, [&]<class T>(T) { gather<T>(from, index, to); },
      [&]<class T>(T) { gather_cuda<T>(from, index, missing, to); });
}

}  // namespace

Tensor gather_rows(Tape& tape, const Tensor& x, const Tensor& index) {
  constexpr std::string_view kName = "gather_rows";
  check_rows_of(kName, x);
  const Tensor picked = usable_index(kName, index, x.dim(0), x);
  check_counts(kName, x, index, x.dim(0));
  const Tensor out(x.shape().with(0, index.size()), x.dtype(), x.device());
  gather(kName, x, picked, kNaN, {out, true});
  tape.record(kName, {x}, out, [x, picked](Tape& walk, const Tensor& dout) {
    scatter(kName, dout, picked, walk.slot(x));
  });
  return out;
}

Tensor scatter_rows(Tape& tape, const Tensor& x, const Tensor& index, int64_t rows) {
  constexpr std::string_view kName = "scatter_rows";
  check_rows_of(kName, x);
  if (rows < 0) fail(kName, "rows: got {}, expected at least 0", rows);
  const Tensor targets = usable_index(kName, index, rows, x);
  check_shape(kName, "index", index, {x.dim(0)});
  check_counts(kName, x, index, rows);
  const Tensor out(x.shape().with(0, rows), x.dtype(), x.device());
  scatter(kName, x, targets, {out, true});
  tape.record(kName, {x}, out, [x, targets](Tape& walk, const Tensor& dout) {
    gather(kName, dout, targets, 0.0f, walk.slot(x));
  });
  return out;
}

}  // namespace offshoot
