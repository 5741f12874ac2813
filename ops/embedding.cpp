#include "ops/embedding.h"

#include <algorithm>

#include "engine/parallel.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "embedding";

template <class T>
void forward(const Tensor& weight, const Tensor& ids, const Tensor& out) {
  const int64_t D = weight.last_dim();
  const T* const table = weight.data<T>();
  const int32_t* const id = ids.data<int32_t>();
  T* const rows = out.data<T>();
  parallel_for(ids.size(), row_grain(D), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) std::copy_n(table + id[n] * D, D, rows + n * D);
  });
}

// Each range owns columns, so that rows of the same id need no agreement.
template <class T>
void backward(const Tensor& ids, const Tensor& dout, const GradSlot& dweight) {
  const int64_t N = ids.size(), D = dweight.grad.last_dim();
  const int32_t* const id = ids.data<int32_t>();
  const T* const g = dout.data<T>();
  T* const grad = dweight.grad.data<T>();
  if (dweight.overwrite) fill_zero(dweight.grad);
  const int64_t grain = std::max<int64_t>(32, 4 * row_grain(N));
  parallel_for(D, grain, [=](int64_t first, int64_t last) {
    for (int64_t n = 0; n < N; ++n) {
      T* const row = grad + id[n] * D;
      for (int64_t d = first; d < last; ++d) row[d] += g[n * D + d];
    }
  });
}

void check_ids(const Tensor& ids, int64_t V) {
  for (const int32_t id : ids.elements<int32_t>()) {
    if (id < 0 || id >= V) fail(kName, "ids: got {}, expected a number in [0, {})", id, V);
  }
}

}  // namespace

Tensor embedding(Tape& tape, const Tensor& weight, const Tensor& ids) {
  check_float(kName, "weight", weight);
  check_rank(kName, "weight", weight, 2);
  check_rows(kName, "weight", weight);
  check_dtype(kName, "ids", ids, DType::i32);
  check_ids(ids, weight.dim(0));

  const Tensor out(ids.shape().inserted(ids.rank(), weight.last_dim()), weight.dtype());
  dispatch_float(kName, weight.dtype(), [&]<class T>(T) { forward<T>(weight, ids, out); });
  tape.record(kName, {weight}, out, [weight, ids](Tape& walk, const Tensor& dout) {
    dispatch_float(kName, dout.dtype(),
                   [&]<class T>(T) { backward<T>(ids, dout, walk.slot(weight)); });
  });
  return out;
}

}  // namespace offshoot
