#include "ops/binary.h"

#include "cuda/binary.h"
#include "cuda/reduce.h"
#include "ops/elementwise.h"

namespace offshoot {
namespace {

// What an operation computes: its value, and the factors' gradients from dout = g.
struct Add {
  static constexpr std::string_view kName = "add";
  static constexpr cuda::Binary kCuda = cuda::Binary::add;
  template <class T>
  static T value(T a, T b) {
    return a + b;
  }
  template <class T>
  static T da(T, T, T g) {
    return g;
  }
  template <class T>
  static T db(T, T, T g) {
    return g;
  }
};

struct Sub {
  static constexpr std::string_view kName = "sub";
  static constexpr cuda::Binary kCuda = cuda::Binary::sub;
  template <class T>
  static T value(T a, T b) {
    return a - b;
  }
  template <class T>
  static T da(T, T, T g) {
    return g;
  }
  template <class T>
  static T db(T, T, T g) {
    return -g;
  }
};

struct Mul {
  static constexpr std::string_view kName = "mul";
  static constexpr cuda::Binary kCuda = cuda::Binary::mul;
  template <class T>
  static T value(T a, T b) {
    return a * b;
  }
  template <class T>
  static T da(T, T b, T g) {
    return g * b;
  }
  template <class T>
  static T db(T a, T, T g) {
    return g * a;
  }
};

struct Div {
  static constexpr std::string_view kName = "div";
  static constexpr cuda::Binary kCuda = cuda::Binary::div;
  template <class T>
  static T value(T a, T b) {
    return a / b;
  }
  template <class T>
  static T da(T, T b, T g) {
    return g / b;
  }
  template <class T>
  static T db(T a, T b, T g) {
    return -g * a / (b * b);
  }
};

struct Maximum {
  static constexpr std::string_view kName = "maximum";
  static constexpr cuda::Binary kCuda = cuda::Binary::maximum;
  template <class T>
  static T value(T a, T b) {
    return a >= b ? a : b;
  }
  template <class T>
  static T da(T a, T b, T g) {
    return a >= b ? g : T{0};
  }
  template <class T>
  static T db(T a, T b, T g) {
    return a >= b ? T{0} : g;
  }
};

// The steps are made constants here, so that the usual loops vectorise.
template <int64_t kStepA, int64_t kStepB, class Op, class T>
void run_row(const T* a, const T* b, T* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = Op::value(a[i * kStepA], b[i * kStepB]);
}

template <class Op, class T>
void forward(const Broadcast& plan, const Tensor& a, const Tensor& b, const Tensor& out) {
  const T* const a_data = a.data<T>();
  const T* const b_data = b.data<T>();
  T* const out_data = out.data<T>();
  auto run = run_row<1, 1, Op, T>;
  if (plan.step(0) == 0) run = run_row<0, 1, Op, T>;
  if (plan.step(1) == 0) run = run_row<1, 0, Op, T>;
  const int64_t inner = plan.inner();
  if (plan.rows() == 1 && plan.step(0) == 1 && plan.step(1) == 1) {  // one long row is cut
    for_elements(inner, [=](int64_t first, int64_t last) {
      run(a_data + first, b_data + first, out_data + first, last - first);
    });
    return;
  }
  for_rows(plan, [&](int64_t row) {
    run(a_data + plan.offset(0, row), b_data + plan.offset(1, row), out_data + row * inner, inner);
  });
}

template <class Op, class T>
void backward(Tape& walk, const Broadcast& plan, const Tensor& a, const Tensor& b,
              const Tensor& dout) {
  const T* const a_data = a.data<T>();
  const T* const b_data = b.data<T>();
  const T* const g = dout.data<T>();
  const int64_t step_a = plan.step(0), step_b = plan.step(1), inner = plan.inner();
  const auto contribution = [=, &plan](auto gradient) {
    return [=, &plan](int64_t row) {
      const T* const a_row = a_data + plan.offset(0, row);
      const T* const b_row = b_data + plan.offset(1, row);
      const T* const g_row = g + row * inner;
      return [=](int64_t i) { return gradient(a_row[i * step_a], b_row[i * step_b], g_row[i]); };
    };
  };
  accumulate_operand<T>(plan, 0, walk.slot(a),
                        contribution([](T x, T y, T d) { return Op::da(x, y, d); }));
  accumulate_operand<T>(plan, 1, walk.slot(b),
                        contribution([](T x, T y, T d) { return Op::db(x, y, d); }));
}

template <class Op, class T>
void forward_cuda(const Broadcast& plan, const Tensor& a, const Tensor& b, const Tensor& out) {
  cuda::binary_forward(Op::kCuda, plan.walk(), a.device_data<T>(), b.device_data<T>(),
                       out.device_data<T>(), stream_of(out));
}

template <class Op, class T>
void backward_cuda(const Broadcast& plan, int operand, const Tensor& a, const Tensor& b,
                   const Tensor& dout, const GradSlot& slot) {
  if (!slot) return;
  const cuda::Walk walk = plan.gradient_walk(static_cast<size_t>(operand), {0, 1});
  const Tensor scratch({cuda::reduction_scratch(walk)}, DType::f32, dout.device());
  cuda::binary_backward(Op::kCuda, operand, walk, a.device_data<T>(), b.device_data<T>(),
                        dout.device_data<T>(), slot.grad.device_data<T>(), slot.overwrite,
                        scratch.device_data<float>(), stream_of(dout));
}

// The result alone.
template <class Op>
Tensor compute(const Broadcast& plan, const Tensor& a, const Tensor& b) {
  const Tensor out(plan.shape(), a.dtype(), a.device());
  dispatch(
      Op::kName, a, [&]<class T>(T) { forward<Op, T>(plan, a, b, out); },
      [&]<class T>(T) { forward_cuda<Op, T>(plan, a, b, out); });
  return out;
}

template <class Op>
Tensor binary(Tape& tape, const Tensor& a, const Tensor& b) {
  check_float(Op::kName, "a", a);
  check_like(Op::kName, "b", b, a);
  const Broadcast plan(Op::kName, {a, b});
  const Tensor out = compute<Op>(plan, a, b);
  tape.record(Op::kName, {a, b}, out, [plan, a, b](Tape& walk, const Tensor& dout) {
    dispatch(
        Op::kName, a, [&]<class T>(T) { backward<Op, T>(walk, plan, a, b, dout); },
        [&]<class T>(T) {
          backward_cuda<Op, T>(plan, 0, a, b, dout, walk.slot(a));
          backward_cuda<Op, T>(plan, 1, a, b, dout, walk.slot(b));
        });
  });
  return out;
}

}  // namespace

Tensor add(Tape& tape, const Tensor& a, const Tensor& b) {
  if (a.defined() && b.defined() && a.shape() == b.shape() && a.dtype() == b.dtype() &&
      a.device() == b.device()) {
    // The gradient is dout itself, so a and b need not be kept.
    const Tensor out = compute<Add>(Broadcast(Add::kName, {a, b}), a, b);
    tape.record(Add::kName, {a, b}, out, [a, b](Tape& walk, const Tensor& dout) {
      if (walk.wants(a) && walk.wants(b)) {
        walk.give(a, dout.clone());
        walk.give(b, dout);
      } else {
        walk.give(walk.wants(a) ? a : b, dout);
      }
    });
    return out;
  }
  return binary<Add>(tape, a, b);
}

Tensor sub(Tape& tape, const Tensor& a, const Tensor& b) { return binary<Sub>(tape, a, b); }
Tensor mul(Tape& tape, const Tensor& a, const Tensor& b) { return binary<Mul>(tape, a, b); }
Tensor div(Tape& tape, const Tensor& a, const Tensor& b) { return binary<Div>(tape, a, b); }
Tensor maximum(Tape& tape, const Tensor& a, const Tensor& b) { return binary<Maximum>(tape, a, b); }

}  // namespace offshoot
