// What the tests of operations share beside gradient checks.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "engine/testing/gradcheck.h"
#include "tests/support/cuda_device.h"

namespace offshoot::testing {

// Names the tests of INSTANTIATE_TEST_SUITE_P by their OpCase.
std::string case_name(const ::testing::TestParamInfo<OpCase>& test);

// The largest relative error (relative_error()) of result and gradients in f32, against f64 from
// the same numbers. A case that fills its inputs itself must not depend on their dtype.
double single_precision_error(const OpCase& op_case);

// Whether result and gradients in f32 have the same bits on one and on three threads.
bool repeats_for_any_thread_count(const OpCase& op_case);

// The largest relative error of result and gradients in f32 on CUDA, against f32 on the CPU. Taken
// twice, into empty slots and on top of random contents; new memory is full of NaN meanwhile. The
// case's operation moves what it captured to the device of its inputs.
double cuda_error(const OpCase& op_case);

// The same with bf16 on CUDA, against f32 on the CPU from the same rounded numbers. `parameters`:
// the inputs that stay f32 on CUDA.
double cuda_bf16_error(const OpCase& op_case, const std::vector<size_t>& parameters = {});

// The text of the Error that `f` throws, else "no error".
std::string error_text(const std::function<void()>& f);

}  // namespace offshoot::testing
