#include "tests/support/golden_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/error.h"

namespace offshoot::testing {

namespace {

double element(const Tensor& tensor, int64_t i) {
  const auto at = [i](const auto* elements) { return static_cast<double>(elements[i]); };
  switch (tensor.dtype()) {
    case DType::f32:
      return at(tensor.data<float>());
    case DType::f64:
      return at(tensor.data<double>());
    case DType::i32:
      return at(tensor.data<int32_t>());
    case DType::i64:
      return at(tensor.data<int64_t>());
    default:
      fail("golden", "cannot compare {}", to_string(tensor.dtype()));
  }
}

void expect_near(const Tensor& ours, const Tensor& golden, double tolerance,
                 const std::string& what) {
  ASSERT_TRUE(ours.defined()) << what << " is undefined";
  const double bound = is_float(golden.dtype()) ? tolerance : 0.0;
  EXPECT_LE(golden_error(ours, golden), bound)
      << what << ": ours " << to_string(ours.shape()) << " " << to_string(ours.dtype())
      << ", golden " << to_string(golden.shape());
}

}  // namespace

GoldenCase::GoldenCase(const GoldenFile& file, std::string path, DType dtype)
    : file_(file),
      path_(std::move(path)),
      dtype_(dtype),
      inputs_(file.tensors(path_ + "/inputs", dtype)) {}

const Tensor& GoldenCase::operator[](const std::string& input) const {
  static const Tensor absent;
  const auto found = inputs_.find(input);
  return found == inputs_.end() ? absent : found->second;
}

int64_t GoldenCase::integer(const std::string& attribute) const {
  return static_cast<int64_t>(number(attribute));
}

std::vector<int64_t> GoldenCase::integers(const std::string& attribute) const {
  return file_.integers(path_, attribute);
}

double golden_error(const Tensor& ours, const Tensor& golden) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  const bool scalars = ours.size() == 1 && golden.size() == 1;
  if (ours.shape() != golden.shape() && !scalars) return kInfinite;
  double largest = 0.0;
  double difference = 0.0;
  for (int64_t i = 0; i < golden.size(); ++i) {
    const double a = element(ours, i);
    const double b = element(golden, i);
    if (!std::isfinite(a)) return kInfinite;
    largest = std::max(largest, std::abs(b));
    difference = std::max(difference, std::abs(a - b));
  }
  return largest < 1e-12 ? difference : difference / largest;
}

void expect_matches_golden(const GoldenFile& file, const std::string& op, const std::string& name,
                           DType dtype, const GoldenFunction& function) {
  const std::string path = "/" + op + "/" + name;
  SCOPED_TRACE(path + " in " + std::string(to_string(dtype)));
  const double tolerance = dtype == DType::f64 ? 1e-9 : 1e-5;
  const GoldenCase golden(file, path, dtype);

  Tape tape;
  NamedTensors gradients;
  if (file.contains(path + "/grads")) gradients = file.tensors(path + "/grads");
  for (const auto& [input, gradient] : gradients) tape.watch(golden[input]);
  const NamedTensors ours = function(tape, golden).tensors;

  const NamedTensors outputs = file.tensors(path + "/outputs");
  for (const auto& [output, tensor] : ours) {
    ASSERT_TRUE(outputs.contains(output)) << "no golden output " << output;
    expect_near(tensor, outputs.at(output), tolerance, output);
  }
  ASSERT_FALSE(ours.empty());
  if (gradients.empty()) return;

  const NamedTensors douts = file.tensors(path + "/dout", dtype);
  const auto& [output, dout] = *douts.begin();
  ASSERT_TRUE(ours.contains(output)) << output << " has a gradient, but was not returned";
  const Tensor& out = ours.at(output);
  ASSERT_EQ(out.size(), dout.size());
  tape.backward(out, dout.view(out.shape()));
  for (const auto& [input, gradient] : gradients) {
    expect_near(tape.grad(golden[input]), gradient, tolerance, "gradient of " + input);
  }
}

void expect_matches_golden(const GoldenFile& file, const std::string& op,
                           const GoldenFunction& function) {
  for (const std::string& name : file.cases(op)) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      expect_matches_golden(file, op, name, dtype, function);
    }
  }
}

void expect_matches_golden(const std::string& op, const GoldenFunction& function) {
  expect_matches_golden(GoldenFile("ops.h5"), op, function);
}

}  // namespace offshoot::testing
