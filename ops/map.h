// One function applied to every element: the frame of unary operations and activations.
#pragma once

#include <string_view>

#include "engine/tape.h"
#include "ops/elementwise.h"

namespace offshoot {

enum class Saved { nothing, input, output };

// out = value(x); dx = gradient(s, dout), s the element that `kSaved` keeps (0 for nothing). Both
// are called with T = float or double. On CUDA the same is `function`, a cuda::Unary or
// cuda::Activation.
template <Saved kSaved, class Function, class Value, class Gradient>
Tensor map_elements(Tape& tape, std::string_view op, const Tensor& x, Function function,
                    Value value, Gradient gradient) {
  check_float(op, "x", x);
  const Tensor out(x.shape(), x.dtype(), x.device());
  dispatch(
      op, x,
      [&]<class T>(T) {
        const T* const in = x.data<T>();
        T* const to = out.data<T>();
        for_elements(x.size(), [=](int64_t first, int64_t last) {
          for (int64_t i = first; i < last; ++i) to[i] = value(in[i]);
        });
      },
      [&]<class T>(T) {
        map_forward(function, x.device_data<T>(), x.size(), out.device_data<T>(), stream_of(x));
      });
  const Tensor saved = kSaved == Saved::input ? x : kSaved == Saved::output ? out : Tensor();
  tape.record(op, {x}, out, [op, x, saved, function, gradient](Tape& walk, const Tensor& dout) {
    const GradSlot dx = walk.slot(x);
    dispatch(
        op, dout,
        [&]<class T>(T) {
          const T* const g = dout.data<T>();
          const T* s = g;
          if constexpr (kSaved != Saved::nothing) s = saved.data<T>();
          T* const to = dx.grad.data<T>();
          for_elements(dout.size(), [=, overwrite = dx.overwrite](int64_t first, int64_t last) {
            accumulate_range(to, first, last, overwrite,
                             [=](int64_t i) { return gradient(s[i], g[i]); });
          });
        },
        [&]<class T>(T) {
          const T* s = nullptr;
          if constexpr (kSaved != Saved::nothing) s = saved.device_data<T>();
          map_backward(function, s, dout.device_data<T>(), dout.size(), dx.grad.device_data<T>(),
                       dx.overwrite, stream_of(dout));
        });
  });
  return out;
}

}  // namespace offshoot
