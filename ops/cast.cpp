#include "ops/cast.h"

#include "cuda/elements.h"
#include "ops/elementwise.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "cast";

template <class From, class To>
void convert(const Tensor& from, const GradSlot& to) {
  const From* const source = from.data<From>();
  To* const target = to.grad.data<To>();
  for_elements(from.size(), [=, overwrite = to.overwrite](int64_t first, int64_t last) {
    accumulate_range(target, first, last, overwrite,
                     [=](int64_t i) { return static_cast<To>(source[i]); });
  });
}

template <class From, class To>
void convert_cuda(const Tensor& from, const GradSlot& to) {
  cuda::accumulate_elements(from.device_data<From>(), to.grad.device_data<To>(), from.size(),
                            to.overwrite, stream_of(from));
}

// to (+)= from
void convert(const Tensor& from, const GradSlot& to) {
  dispatch(
      kName, from,
      [&]<class From>(From) {
        dispatch_float(kName, to.grad.dtype(), [&]<class To>(To) { convert<From, To>(from, to); });
      },
      [&]<class From>(From) {
        dispatch_cuda(kName, to.grad.dtype(),
                      [&]<class To>(To) { convert_cuda<From, To>(from, to); });
      });
}

}  // namespace

Tensor cast(Tape& tape, const Tensor& x, DType dtype) {
  check_float(kName, "x", x);
  if (x.dtype() == dtype) return x;
  const Tensor out(x.shape(), dtype, x.device());
  check_float(kName, "dtype", out);
  convert(x, {out, true});
  tape.record(kName, {x}, out,
              [x](Tape& walk, const Tensor& dout) { convert(dout, walk.slot(x)); });
  return out;
}

}  // namespace offshoot
