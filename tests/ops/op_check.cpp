#include "tests/ops/op_check.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "engine/parallel.h"

namespace offshoot::testing {
namespace {

// Another dtype's numbers nearest to `from`, on the CPU.
Tensor converted(const Tensor& from, DType dtype) {
  if (from.dtype() == dtype) return from;
  Tensor to(from.shape(), dtype);
  const auto convert = [&]<class From, class To>(From, To) {
    std::ranges::transform(from.elements<From>(), to.elements<To>().begin(), [](From value) {
      if constexpr (std::is_same_v<From, bfloat16>) {
        return static_cast<To>(to_float(value));
      } else if constexpr (std::is_same_v<To, bfloat16>) {
        return to_bfloat16(static_cast<float>(value));
      } else {
        return static_cast<To>(value);
      }
    });
  };
  if (from.dtype() == DType::bf16) {
    dispatch_float("op_check", dtype, [&]<class To>(To) { convert(bfloat16{}, To{}); });
  } else if (dtype == DType::bf16) {
    dispatch_float("op_check", from.dtype(),
                   [&]<class From>(From) { convert(From{}, bfloat16{}); });
  } else {
    dispatch_float("op_check", from.dtype(), [&]<class From>(From) {
      dispatch_float("op_check", dtype, [&]<class To>(To) { convert(From{}, To{}); });
    });
  }
  return to;
}

// How a pass is made: in which dtype, on which device, and from which numbers.
struct Pass {
  DType dtype = DType::f32;
  Device device = {};
  DType numbers = DType::f32;           // inputs are numbers of this dtype
  std::vector<size_t> parameters = {};  // inputs that are f32 where `dtype` is bf16
  bool prefilled = false;               // gradients are added to random numbers

  DType dtype_of_input(size_t i) const {
    const bool parameter = std::ranges::find(parameters, i) != parameters.end();
    return parameter && dtype == DType::bf16 ? DType::f32 : dtype;
  }
};

// The result and each input's gradient, weighted by random numbers, on the CPU.
std::vector<Tensor> run_pass(const OpCase& op_case, const Pass& how) {
  Random random(1, stream_of("op_check"));
  const auto there = [&](const Tensor& tensor, DType dtype) {
    return converted(converted(tensor, how.numbers), dtype).to(how.device);
  };
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < op_case.inputs.size(); ++i) {
    Tensor input = random_tensor(op_case.inputs[i], DType::f64, i + 1);
    if (op_case.fill) op_case.fill(i, input, random);
    inputs.push_back(there(input, how.dtype_of_input(i)));
  }
  Tape tape;
  for (size_t i = 0; i < inputs.size(); ++i) {
    tape.watch(inputs[i]);
    if (!how.prefilled) continue;
    const Tensor before = random_tensor(inputs[i].shape(), DType::f64, 50 + i);
    copy_elements(there(before, inputs[i].dtype()), tape.slot(inputs[i]).grad);
  }
  const Tensor out = op_case.op(tape, inputs);
  tape.backward(out, there(random_tensor(out.shape(), DType::f32, 99), out.dtype()));
  std::vector<Tensor> results{out.to(Device{})};
  for (const Tensor& input : inputs) results.push_back(tape.grad(input).to(Device{}));
  return results;
}

std::vector<Tensor> pass(const OpCase& op_case, DType dtype) {
  return run_pass(op_case, {.dtype = dtype});
}

// New memory is NaN while this lives.
class Poison {
 public:
  Poison() { poison_storage(true); }
  ~Poison() {
#ifndef OFFSHOOT_POISON
    poison_storage(false);
#endif
  }
};

double error_on_cuda(const OpCase& op_case, const Pass& cuda) {
  const Poison poison;
  double error = 0;
  for (const bool prefilled : {false, true}) {
    Pass there = cuda, here{.numbers = cuda.numbers};
    there.device = kCuda;
    there.prefilled = here.prefilled = prefilled;
    const auto got = run_pass(op_case, there), expected = run_pass(op_case, here);
    for (size_t i = 0; i < got.size(); ++i) {
      error = std::max(error, relative_error(converted(got[i], DType::f32), expected[i]));
    }
  }
  return error;
}

}  // namespace

std::string case_name(const ::testing::TestParamInfo<OpCase>& test) { return test.param.name; }

double single_precision_error(const OpCase& op_case) {
  const auto narrow = pass(op_case, DType::f32), wide = pass(op_case, DType::f64);
  double error = 0;
  for (size_t i = 0; i < wide.size(); ++i) {
    error = std::max(error, relative_error(converted(narrow[i], DType::f64), wide[i]));
  }
  return error;
}

bool repeats_for_any_thread_count(const OpCase& op_case) {
  const int threads = num_threads();
  set_num_threads(1);
  const auto one = pass(op_case, DType::f32);
  set_num_threads(3);
  const auto three = pass(op_case, DType::f32);
  set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) {
    if (std::memcmp(one[i].raw(), three[i].raw(), static_cast<size_t>(one[i].bytes())) != 0) {
      return false;
    }
  }
  return true;
}

double cuda_error(const OpCase& op_case) { return error_on_cuda(op_case, {}); }

double cuda_bf16_error(const OpCase& op_case, const std::vector<size_t>& parameters) {
  return error_on_cuda(op_case,
                       {.dtype = DType::bf16, .numbers = DType::bf16, .parameters = parameters});
}

std::string error_text(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace offshoot::testing
