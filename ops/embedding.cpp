#include "ops/embedding.h"

#include <algorithm>

#include "cuda/embedding.h"
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

template <class T>
void forward_cuda(const Tensor& weight, const Tensor& ids, const Tensor& out) {
  cuda::embedding_forward(weight.device_data<T>(), ids.device_data<int32_t>(), ids.size(),
                          weight.dim(0), weight.dim(1), out.device_data<T>(), stream_of(weight));
}

template <class T>
void backward_cuda(const Tensor& ids, const Tensor& dout, const GradSlot& dweight) {
  const auto bytes = static_cast<int64_t>(cuda::embedding_scratch_bytes(ids.size()));
  const Tensor scratch({(bytes + 3) / 4}, DType::i32, ids.device());
  cuda::embedding_backward(dout.device_data<T>(), ids.device_data<int32_t>(), ids.size(),
                           dweight.grad.dim(0), dweight.grad.dim(1), scratch.address(),
                           dweight.grad.device_data<T>(), dweight.overwrite, stream_of(dout));
}

// Calls cpu(T{}) with the C++ type of the weight's elements, or cuda(float{}).
template <class Cpu, class Cuda>
void dispatch_weight(const Tensor& weight, Cpu&& cpu, Cuda&& cuda) {
  if constexpr (kHasCuda) {
    if (weight.device().is_cuda()) return cuda(float{});
  }
  dispatch_float(kName, weight.dtype(), std::forward<Cpu>(cpu));
}

void check_ids(const Tensor& ids, const Tensor& weight) {
  check_dtype(kName, "ids", ids, DType::i32);
  if (ids.device().is_cuda()) return check_device(kName, "ids", ids, weight.device());
  const int64_t V = weight.dim(0);
  for (const int32_t id : ids.elements<int32_t>()) {
    if (id < 0 || id >= V) fail(kName, "ids: got {}, expected a number in [0, {})", id, V);
  }
}

}  // namespace

Tensor embedding(Tape& tape, const Tensor& weight, const Tensor& ids) {
  check_float(kName, "weight", weight);
  check_parameter(kName, "weight", weight, weight);
  check_rank(kName, "weight", weight, 2);
  check_rows(kName, "weight", weight);
  check_ids(ids, weight);

  const Tensor own_ids = ids.to(weight.device());
  const Tensor out(ids.shape().inserted(ids.rank(), weight.last_dim()), weight.dtype(),
                   weight.device());
  dispatch_weight(
      weight, [&]<class T>(T) { forward<T>(weight, own_ids, out); },
      [&]<class T>(T) { forward_cuda<T>(weight, own_ids, out); });
  tape.record(kName, {weight}, out, [weight, own_ids](Tape& walk, const Tensor& dout) {
    const GradSlot dweight = walk.slot(weight);
    dispatch_weight(
        weight, [&]<class T>(T) { backward<T>(own_ids, dout, dweight); },
        [&]<class T>(T) { backward_cuda<T>(own_ids, dout, dweight); });
  });
  return out;
}

}  // namespace offshoot
