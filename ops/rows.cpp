#include "ops/rows.h"

#include "engine/parallel.h"
#include "ops/elementwise.h"
#include "ops/op.h"

namespace offshoot {
namespace {

void check_index(std::string_view op, const Tensor& index, int64_t rows) {
  check_dtype(op, "index", index, DType::i64);
  check_rank(op, "index", index, 1);
  for (const int64_t row : index.elements<int64_t>()) {
    if (row < 0 || row >= rows) fail(op, "index: got {}, expected 0..{}", row, rows - 1);
  }
}

void check_rows_of(std::string_view op, const Tensor& x) {
  check_float(op, "x", x);
  if (x.rank() < 1) fail(op, "x: got a scalar, expected rows");
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

}  // namespace

Tensor gather_rows(Tape& tape, const Tensor& x, const Tensor& index) {
  constexpr std::string_view kName = "gather_rows";
  check_rows_of(kName, x);
  check_index(kName, index, x.dim(0));
  const Tensor out(x.shape().with(0, index.size()), x.dtype());
  dispatch_float(kName, x.dtype(), [&]<class T>(T) { gather<T>(x, index, {out, true}); });
  tape.record(kName, {x}, out, [x, index](Tape& walk, const Tensor& dout) {
    dispatch_float(kName, x.dtype(), [&]<class T>(T) { scatter<T>(dout, index, walk.slot(x)); });
  });
  return out;
}

Tensor scatter_rows(Tape& tape, const Tensor& x, const Tensor& index, int64_t rows) {
  constexpr std::string_view kName = "scatter_rows";
  check_rows_of(kName, x);
  if (rows < 0) fail(kName, "rows: got {}, expected at least 0", rows);
  check_index(kName, index, rows);
  check_shape(kName, "index", index, {x.dim(0)});
  const Tensor out(x.shape().with(0, rows), x.dtype());
  dispatch_float(kName, x.dtype(), [&]<class T>(T) { scatter<T>(x, index, {out, true}); });
  tape.record(kName, {x}, out, [x, index](Tape& walk, const Tensor& dout) {
    dispatch_float(kName, x.dtype(), [&]<class T>(T) { gather<T>(dout, index, walk.slot(x)); });
  });
  return out;
}

}  // namespace offshoot
