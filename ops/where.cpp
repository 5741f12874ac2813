#include "ops/where.h"

#include "cuda/reduce.h"
#include "cuda/where.h"
#include "ops/elementwise.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "where";

template <class T>
void forward(const Broadcast& plan, const Tensor& condition, const Tensor& a, const Tensor& b,
             const Tensor& out) {
  const int32_t* const c = condition.data<int32_t>();
  const T* const a_data = a.data<T>();
  const T* const b_data = b.data<T>();
  T* const out_data = out.data<T>();
  const int64_t inner = plan.inner();
  for_rows(plan, [&](int64_t row) {
    const int32_t* const c_row = c + plan.offset(0, row);
    const T* const a_row = a_data + plan.offset(1, row);
    const T* const b_row = b_data + plan.offset(2, row);
    for (int64_t i = 0; i < inner; ++i) {
      out_data[row * inner + i] =
          c_row[i * plan.step(0)] != 0 ? a_row[i * plan.step(1)] : b_row[i * plan.step(2)];
    }
  });
}

template <class T>
void backward(Tape& walk, const Broadcast& plan, const Tensor& condition, const Tensor& a,
              const Tensor& b, const Tensor& dout) {
  const int32_t* const c = condition.data<int32_t>();
  const T* const g = dout.data<T>();
  // The side that was not chosen gets 0.
  const auto contribution = [&](bool to_a) {
    return [=, &plan](int64_t row) {
      const int32_t* const c_row = c + plan.offset(0, row);
      const T* const g_row = g + row * plan.inner();
      return [=, step = plan.step(0)](int64_t i) {
        return (c_row[i * step] != 0) == to_a ? g_row[i] : T{0};
      };
    };
  };
  accumulate_operand<T>(plan, 1, walk.slot(a), contribution(true));
  accumulate_operand<T>(plan, 2, walk.slot(b), contribution(false));
}

template <class T>
void forward_cuda(const Broadcast& plan, const Tensor& condition, const Tensor& a, const Tensor& b,
                  const Tensor& out) {
  cuda::where_forward(plan.walk(), condition.device_data<int32_t>(), a.device_data<T>(),
                      b.device_data<T>(), out.device_data<T>(), stream_of(out));
}

template <class T>
void backward_cuda(const Broadcast& plan, size_t operand, const Tensor& condition,
                   const Tensor& dout, const GradSlot& slot) {
  if (!slot) return;
  const cuda::Walk walk = plan.gradient_walk(operand, {0});
  const Tensor scratch({cuda::reduction_scratch(walk)}, DType::f32, dout.device());
  cuda::where_backward(walk, operand == 1, condition.device_data<int32_t>(), dout.device_data<T>(),
                       slot.grad.device_data<T>(), slot.overwrite, scratch.device_data<float>(),
                       stream_of(dout));
}

}  // namespace

Tensor where(Tape& tape, const Tensor& condition, const Tensor& a, const Tensor& b) {
  check_dtype(kName, "condition", condition, DType::i32);
  check_float(kName, "a", a);
  check_like(kName, "b", b, a);
  if (condition.device().is_cuda()) check_device(kName, "condition", condition, a.device());
  const Tensor chosen = condition.to(a.device());
  const Broadcast plan(kName, {chosen, a, b});
  const Tensor out(plan.shape(), a.dtype(), a.device());
  dispatch(
      kName, a, [&]<class T>(T) { forward<T>(plan, chosen, a, b, out); },
      [&]<class T>(T) { forward_cuda<T>(plan, chosen, a, b, out); });
  tape.record(kName, {a, b}, out, [plan, chosen, a, b](Tape& walk, const Tensor& dout) {
    dispatch(
        kName, a, [&]<class T>(T) { backward<T>(walk, plan, chosen, a, b, dout); },
        [&]<class T>(T) {
          backward_cuda<T>(plan, 1, chosen, dout, walk.slot(a));
          backward_cuda<T>(plan, 2, chosen, dout, walk.slot(b));
        });
  });
  return out;
}

}  // namespace offshoot
