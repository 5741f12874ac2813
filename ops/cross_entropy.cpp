#include "ops/cross_entropy.h"

#include <algorithm>

#include "engine/parallel.h"
#include "ops/exponentials.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "cross_entropy";

// What forward leaves: softmax is numerators / sums.
template <class T>
struct Rows {
  T* numerators;  // [N, C]
  T* sums;        // [N]
  T* losses;      // [N], 0 where the target is ignore_index
};

// Checks everything; returns the number of rows whose target is not ignore_index.
int64_t check(const Tensor& logits, const Tensor& targets, int64_t ignore_index) {
  check_float(kName, "logits", logits);
  check_rows(kName, "logits", logits);
  check_shape(kName, "targets", targets, logits.shape().without(logits.rank() - 1));
  check_dtype(kName, "targets", targets, DType::i32);
  const int64_t C = logits.last_dim();
  int64_t counted = 0;
  for (const int32_t target : targets.elements<int32_t>()) {
    if (target == ignore_index) continue;
    if (target < 0 || target >= C) {
      fail(kName, "targets: got {}, expected a class in [0, {}) or {}", target, C, ignore_index);
    }
    ++counted;
  }
  return counted;
}

template <class T>
void forward(const Tensor& logits, const Tensor& targets, int64_t ignore_index, const Rows<T>& to) {
  const int64_t C = logits.last_dim();
  const T* const x = logits.data<T>();
  const int32_t* const target = targets.data<int32_t>();
  parallel_for(targets.size(), row_grain(6 * C + 32), [=](int64_t first, int64_t last) {
    each_exponential_block(first, last, [=](int64_t n, int64_t rows) {
      T largest[kExponentialRows], logs[kExponentialRows];
      exponentials(kName, x + n * C, rows, C, to.numerators + n * C, largest, to.sums + n);
      for (int64_t r = 0; r < rows; ++r) logs[r] = vlog(to.sums[n + r]);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t t = target[n + r];
        to.losses[n + r] = t == ignore_index ? T{0} : logs[r] - (x[(n + r) * C + t] - largest[r]);
      }
    });
  });
}

template <class T>
void backward(const Rows<T>& from, const Tensor& targets, int64_t ignore_index, T scale,
              const GradSlot& dlogits) {
  const int64_t C = dlogits.grad.last_dim();
  const bool overwrite = dlogits.overwrite;
  const int32_t* const target = targets.data<int32_t>();
  T* const dx = dlogits.grad.data<T>();
  parallel_for(targets.size(), row_grain(C), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const T* const numerators = from.numerators + n * C;
      T* const dx_n = dx + n * C;
      const bool counted = target[n] != ignore_index;
      const T factor = counted ? scale / from.sums[n] : T{0};
      for (int64_t c = 0; c < C; ++c) accumulate(dx_n[c], factor * numerators[c], overwrite);
      if (counted) dx_n[target[n]] -= scale;
    }
  });
}

}  // namespace

Tensor cross_entropy(Tape& tape, const Tensor& logits, const Tensor& targets,
                     int64_t ignore_index) {
  const int64_t counted = check(logits, targets, ignore_index);
  const int64_t N = targets.size(), C = logits.last_dim();
  const DType dtype = logits.dtype();
  const Tensor numerators({N, C}, dtype), sums({N}, dtype), losses({N}, dtype), loss({}, dtype);
  dispatch_float(kName, dtype, [&]<class T>(T) {
    T* const each = losses.data<T>();
    forward<T>(logits, targets, ignore_index, {numerators.data<T>(), sums.data<T>(), each});
    const double sum = sum_of<double>(N, [=](int64_t n) { return static_cast<double>(each[n]); });
    *loss.data<T>() = counted == 0 ? T{0} : static_cast<T>(sum / static_cast<double>(counted));
  });
  tape.record(
      kName, {logits}, loss,
      [logits, targets, numerators, sums, ignore_index, counted](Tape& walk, const Tensor& dout) {
        dispatch_float(kName, dout.dtype(), [&]<class T>(T) {
          const T scale = *dout.data<T>() / static_cast<T>(std::max<int64_t>(1, counted));
          backward<T>({numerators.data<T>(), sums.data<T>(), nullptr}, targets, ignore_index, scale,
                      walk.slot(logits));
        });
      });
  return loss;
}

Tensor cross_entropy_each(const Tensor& logits, const Tensor& targets) {
  constexpr int64_t kNone = -1;
  const int64_t counted = check(logits, targets, kNone), N = targets.size();
  if (counted != N) fail(kName, "targets: got {}, expected classes only", kNone);
  const DType dtype = logits.dtype();
  const Tensor losses(targets.shape(), dtype), numerators({N, logits.last_dim()}, dtype),
      sums({N}, dtype);
  dispatch_float(kName, dtype, [&]<class T>(T) {
    forward<T>(logits, targets, kNone, {numerators.data<T>(), sums.data<T>(), losses.data<T>()});
  });
  return losses;
}

}  // namespace offshoot
