// Two CUDA devices in one program.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/parameter.h"
#include "engine/storage.h"
#include "ops/binary.h"
#include "ops/linear.h"
#include "ops/softmax.h"
#include "tests/ops/op_check.h"

namespace offshoot {
namespace {

using testing::kCuda;
using testing::random_tensor;

constexpr Device kSecond{Device::Kind::cuda, 1};

class TwoDevicesCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      parse_device("cuda:1");
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }
  // So that later tests of the program are not slowed down by memory that is there.
  void TearDown() override {
    if (!IsSkipped()) release_pooled_storage(kSecond);
  }
};

bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(Device{}), y = b.to(Device{});
  return x.shape() == y.shape() && x.dtype() == y.dtype() &&
         std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())) == 0;
}

TEST_F(TwoDevicesCuda, TensorsGoFromOneToTheOther) {
  for (const int64_t size : {0, 1, 257, 2000003}) {
    const Tensor here = random_tensor({size}, DType::f32, 1), first = here.to(kCuda);
    const Tensor second = first.to(kSecond);
    EXPECT_EQ(first.device(), kCuda);
    EXPECT_EQ(second.device(), kSecond);
    EXPECT_TRUE(same_bits(second, here)) << size;
    const Tensor other = random_tensor({size}, DType::f32, 2).to(kSecond);
    copy_elements(other, first);
    EXPECT_TRUE(same_bits(first, other)) << size;
    EXPECT_TRUE(same_bits(second, here)) << size;
    copy_elements(first, second);
    fill_zero(first);
    EXPECT_TRUE(same_bits(second.clone(), other)) << size;
  }
}

TEST_F(TwoDevicesCuda, EachHasMemoryOfItsOwn) {
  const int64_t before = storage_stats(kCuda).pooled_bytes_in_use;
  const int64_t there = storage_stats(kSecond).pooled_bytes_in_use;
  const Tensor tensor({10000}, DType::f32, kSecond);
  EXPECT_EQ(storage_stats(kCuda).pooled_bytes_in_use, before);
  EXPECT_GE(storage_stats(kSecond).pooled_bytes_in_use, there + 40000);
}

// The result and all gradients of a small layer on a device.
std::vector<Tensor> layer_on(Device device) {
  const Tensor x = random_tensor({23, 17}, DType::f32, 1).to(device);
  const Tensor weight = random_tensor({13, 17}, DType::f32, 2).to(device);
  const Tensor bias = random_tensor({13}, DType::f32, 3).to(device);
  Tape tape;
  for (const Tensor& input : {x, weight, bias}) tape.watch(input);
  const Tensor out = softmax(tape, linear(tape, x, weight, bias));
  tape.backward(out, random_tensor(out.shape(), DType::f32, 4).to(device));
  return {out, tape.grad(x), tape.grad(weight), tape.grad(bias)};
}

TEST_F(TwoDevicesCuda, OperationsGiveTheSameBitsOnBoth) {
  const auto first = layer_on(kCuda), second = layer_on(kSecond);
  const auto again = layer_on(kCuda), cpu = layer_on({});
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(second[i].device(), kSecond) << i;
    EXPECT_TRUE(same_bits(second[i], first[i])) << i;
    EXPECT_TRUE(same_bits(again[i], first[i])) << i;
    EXPECT_LT(testing::relative_error(second[i].to(Device{}), cpu[i]), 1e-5) << i;
  }
}

TEST_F(TwoDevicesCuda, RowsGrowOnTheSecond) {
  const int64_t first_bytes = storage_stats(kCuda).growable_bytes;
  const Tensor rows = random_tensor({3, 5}, DType::f32, 1);
  GrowthGroup group("experts", 3);
  Parameter weight("w", rows.to(kSecond), group, /*reserve_rows=*/4);
  for (int row = 3; row < 9; ++row) group.duplicate(1);  // beyond the reserve
  group.remove(0);
  EXPECT_EQ(weight.value().device(), kSecond);
  EXPECT_EQ(weight.value().dim(0), 8);
  EXPECT_TRUE(same_bits(weight.value().rows(1, 2), rows.rows(1, 2)));
  for (const int64_t row : {0, 3, 7}) {
    EXPECT_TRUE(same_bits(weight.value().rows(row, 1), rows.rows(1, 1))) << row;
  }
  EXPECT_EQ(storage_stats(kCuda).growable_bytes, first_bytes);
}

TEST_F(TwoDevicesCuda, NoOperationTakesTensorsOfBoth) {
  const Tensor a({2, 3}, DType::f32, kCuda), b({2, 3}, DType::f32, kSecond);
  Tape tape = Tape::none();
  EXPECT_EQ(testing::error_text([&] { add(tape, a, b); }),
            "[add] b: got a tensor on cuda:1, expected cuda:0");
  EXPECT_EQ(testing::error_text([&] { linear(tape, b, a, {}); }),
            "[linear] x: got a tensor on cuda:1, expected cuda:0 as weight");
}

}  // namespace
}  // namespace offshoot
