#include "ops/cross_entropy.h"

#include <algorithm>
#include <limits>

#include "cuda/cross_entropy.h"
#include "engine/parallel.h"
#include "ops/exponentials.h"
#include "ops/op.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "cross_entropy";

// An ignore_index that no target has.
constexpr int64_t kNoIndex = std::numeric_limits<int64_t>::min();

// What forward leaves: softmax is numerators / sums.
template <class T>
struct Rows {
  T* numerators;  // [N, C]
  T* sums;        // [N]
  T* losses;      // [N], 0 where the target is ignore_index
};

// Checks everything; returns the number of rows whose target is not ignore_index, 0 where the
// targets are on a CUDA device.
int64_t check(const Tensor& logits, const Tensor& targets, int64_t ignore_index) {
  check_float(kName, "logits", logits);
  check_rows(kName, "logits", logits);
  check_shape(kName, "targets", targets, logits.shape().without(logits.rank() - 1));
  check_dtype(kName, "targets", targets, DType::i32);
  if (targets.device().is_cuda()) {
    check_device(kName, "targets", targets, logits.device());
    return 0;
  }
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

// On CUDA everything but the logits and their gradient is f32, on the device.
struct Statistics {
  Tensor largest, log_sums;  // [N]; undefined where no gradient is wanted
  Tensor counted;            // [] i64
};

template <class T>
void each_cuda(const Tensor& logits, const Tensor& targets, int64_t ignore_index,
               const Statistics& to, const Tensor& losses) {
  const auto data = [](const Tensor& t) { return t.defined() ? t.device_data<float>() : nullptr; };
  cuda::cross_entropy_rows(logits.device_data<T>(), targets.device_data<int32_t>(), ignore_index,
                           targets.size(), logits.last_dim(), data(to.largest), data(to.log_sums),
                           losses.device_data<float>(), stream_of(logits));
}

template <class T>
void forward_cuda(const Tensor& logits, const Tensor& targets, int64_t ignore_index,
                  const Statistics& to, const Tensor& loss) {
  const Tensor losses({targets.size()}, DType::f32, logits.device());
  each_cuda<T>(logits, targets, ignore_index, to, losses);
  cuda::cross_entropy_mean(losses.device_data<float>(), targets.device_data<int32_t>(),
                           ignore_index, targets.size(), to.counted.device_data<int64_t>(),
                           loss.device_data<float>(), stream_of(logits));
}

template <class T>
void backward_cuda(const Tensor& logits, const Tensor& targets, int64_t ignore_index,
                   const Statistics& from, const Tensor& dloss, const GradSlot& dlogits) {
  cuda::cross_entropy_backward(
      logits.device_data<T>(), targets.device_data<int32_t>(), ignore_index,
      from.largest.device_data<float>(), from.log_sums.device_data<float>(),
      from.counted.device_data<int64_t>(), dloss.device_data<float>(), targets.size(),
      logits.last_dim(), dlogits.grad.device_data<T>(), dlogits.overwrite, stream_of(logits));
}

// Calls f(T{}) with the C++ type of the logits, which are on a CUDA device.
template <class F>
void on_cuda(const Tensor& logits, F&& f) {
  if constexpr (kHasCuda) dispatch_cuda(kName, logits.dtype(), std::forward<F>(f));
}

Tensor cross_entropy_cuda(Tape& tape, const Tensor& logits, const Tensor& targets_anywhere,
                          int64_t ignore_index) {
  const Device device = logits.device();
  const Tensor targets = targets_anywhere.to(device), loss({}, DType::f32, device);
  Statistics statistics;
  statistics.counted = Tensor({}, DType::i64, device);
  if (tape.wants(logits)) {
    for (Tensor* const each : {&statistics.largest, &statistics.log_sums}) {
      *each = Tensor({targets.size()}, DType::f32, device);
    }
  }
  on_cuda(logits,
          [&]<class T>(T) { forward_cuda<T>(logits, targets, ignore_index, statistics, loss); });
  tape.record(kName, {logits}, loss,
              [logits, targets, ignore_index, statistics](Tape& walk, const Tensor& dloss) {
                const GradSlot dlogits = walk.slot(logits);
                on_cuda(logits, [&]<class T>(T) {
                  backward_cuda<T>(logits, targets, ignore_index, statistics, dloss, dlogits);
                });
              });
  return loss;
}

}  // namespace

Tensor cross_entropy(Tape& tape, const Tensor& logits, const Tensor& targets,
                     int64_t ignore_index) {
  const int64_t counted = check(logits, targets, ignore_index);
  if (logits.device().is_cuda()) return cross_entropy_cuda(tape, logits, targets, ignore_index);
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
  if (!targets.device().is_cuda() && counted != N) {
    fail(kName, "targets: got {}, expected classes only", kNone);
  }
  if (logits.device().is_cuda()) {
    const Tensor losses(targets.shape(), DType::f32, logits.device());
    on_cuda(logits, [&]<class T>(T) {
      each_cuda<T>(logits, targets.to(logits.device()), kNoIndex, {}, losses);
    });
    return losses;
  }
  const DType dtype = logits.dtype();
  const Tensor losses(targets.shape(), dtype), numerators({N, logits.last_dim()}, dtype),
      sums({N}, dtype);
  dispatch_float(kName, dtype, [&]<class T>(T) {
    forward<T>(logits, targets, kNone, {numerators.data<T>(), sums.data<T>(), losses.data<T>()});
  });
  return losses;
}

}  // namespace offshoot
