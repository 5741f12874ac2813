#include "ops/where.h"

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

}  // namespace

Tensor where(Tape& tape, const Tensor& condition, const Tensor& a, const Tensor& b) {
  check_dtype(kName, "condition", condition, DType::i32);
  check_float(kName, "a", a);
  check_dtype(kName, "b", b, a.dtype());
  const Broadcast plan(kName, {condition, a, b});
  const Tensor out(plan.shape(), a.dtype());
  dispatch_float(kName, a.dtype(), [&]<class T>(T) { forward<T>(plan, condition, a, b, out); });
  tape.record(kName, {a, b}, out, [plan, condition, a, b](Tape& walk, const Tensor& dout) {
    dispatch_float(kName, a.dtype(),
                   [&]<class T>(T) { backward<T>(walk, plan, condition, a, b, dout); });
  });
  return out;
}

}  // namespace offshoot
