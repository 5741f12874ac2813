#include "tests/ops/op_check.h"

#include <algorithm>
#include <cstring>

#include "engine/parallel.h"

namespace offshoot::testing {
namespace {

Tensor converted(const Tensor& from, DType dtype) {
  Tensor to(from.shape(), dtype);
  dispatch_float("op_check", from.dtype(), [&]<class From>(From) {
    dispatch_float("op_check", dtype, [&]<class To>(To) {
      std::ranges::transform(from.elements<From>(), to.elements<To>().begin(),
                             [](From value) { return static_cast<To>(value); });
    });
  });
  return to;
}

// The result and each input's gradient, weighted by random numbers; inputs are f32 numbers.
std::vector<Tensor> pass(const OpCase& op_case, DType dtype) {
  Random random(1, stream_of("op_check"));
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < op_case.inputs.size(); ++i) {
    Tensor input = random_tensor(op_case.inputs[i], DType::f64, i + 1);
    if (op_case.fill) op_case.fill(i, input, random);
    inputs.push_back(converted(converted(input, DType::f32), dtype));
  }
  Tape tape;
  for (const Tensor& input : inputs) tape.watch(input);
  const Tensor out = op_case.op(tape, inputs);
  tape.backward(out, converted(random_tensor(out.shape(), DType::f32, 99), dtype));
  std::vector<Tensor> results{out};
  for (const Tensor& input : inputs) results.push_back(tape.grad(input));
  return results;
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

std::string error_text(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace offshoot::testing
