// Compares an operation and its gradients with golden values.
//
//   TEST(LayerNorm, MatchesGoldenValues) {
//     expect_matches_golden("layer_norm", [](Tape& tape, const GoldenCase& golden) {
//       return layer_norm(tape, golden["x"], golden["weight"], golden["bias"],
//                         golden.number("eps"));
//     });
//   }
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/tape.h"
#include "tests/support/golden.h"

namespace offshoot::testing {

// One case: its inputs, watched by the tape, in the dtype of this run, and its configuration.
class GoldenCase {
 public:
  GoldenCase(const GoldenFile& file, std::string path, DType dtype);

  const std::string& path() const { return path_; }
  DType dtype() const { return dtype_; }
  const NamedTensors& inputs() const { return inputs_; }
  // An input. Undefined when the case has none of this name: a bias may be absent.
  const Tensor& operator[](const std::string& input) const;
  bool has(const std::string& attribute) const { return file_.has_attribute(path_, attribute); }
  double number(const std::string& attribute) const { return file_.number(path_, attribute); }
  int64_t integer(const std::string& attribute) const;
  bool flag(const std::string& attribute) const { return integer(attribute) != 0; }
  std::vector<int64_t> integers(const std::string& attribute) const;
  std::string text(const std::string& attribute) const { return file_.text(path_, attribute); }

 private:
  const GoldenFile& file_;
  std::string path_;
  DType dtype_;
  NamedTensors inputs_;
};

// What an operation returns: one tensor, or several by the names of the golden outputs (those that
// are left out are not compared).
struct GoldenOutputs {
  GoldenOutputs(Tensor out) : tensors{{"out", std::move(out)}} {}
  GoldenOutputs(NamedTensors named) : tensors(std::move(named)) {}
  NamedTensors tensors;
};
using GoldenFunction = std::function<GoldenOutputs(Tape&, const GoldenCase&)>;

// Runs `function` on a case, walks back from the output that has a golden dout with that dout, and
// compares outputs and gradients: floats by max|a - b| / max|b|, to 1e-9 in f64 and 1e-5 in f32,
// integers exactly.
void expect_matches_golden(const GoldenFile& file, const std::string& op, const std::string& name,
                           DType dtype, const GoldenFunction& function);

// The same for every case of `op`, of ops.h5 where no file is given, in f64 and f32.
void expect_matches_golden(const GoldenFile& file, const std::string& op,
                           const GoldenFunction& function);
void expect_matches_golden(const std::string& op, const GoldenFunction& function);

// The measure used: max|a - b| / max|b|, or max|a - b| where all of `golden` is below 1e-12.
// Infinite where shapes differ (one element is one element) or a value is not finite.
double golden_error(const Tensor& ours, const Tensor& golden);

}  // namespace offshoot::testing
