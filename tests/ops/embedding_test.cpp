#include "ops/embedding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cuda/context.h"
#include "cuda/embedding.h"
#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

// N ids below V, with repetitions; some rows are never looked up.
Tensor some_ids(const Shape& shape, int64_t V) {
  Random random(7, 0);
  Tensor ids(shape, DType::i32);
  for (int32_t& id : ids.elements<int32_t>()) {
    id = static_cast<int32_t>(V - 1 - random.below((V + 1) / 2));
  }
  return ids;
}

OpCase lookup(std::string name, const Shape& table, const Shape& ids_shape) {
  return {std::move(name), {table}, [ids_shape](Tape& tape, const std::vector<Tensor>& inputs) {
            return embedding(tape, inputs[0], some_ids(ids_shape, inputs[0].dim(0)));
          }};
}

class EmbeddingGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(EmbeddingGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Cases, EmbeddingGradient,
                         ::testing::Values(lookup("one_id", {1, 1}, {}),
                                           lookup("prime_sizes", {11, 13}, {7}),
                                           lookup("two_axes", {5, 3}, {2, 17}),
                                           lookup("many_ids", {53, 97}, {1021})),
                         testing::case_name);

TEST(Embedding, MatchesGoldenValues) {
  testing::expect_matches_golden("embedding", [](Tape& tape, const testing::GoldenCase& golden) {
    return embedding(tape, golden["weight"], golden["tokens"]);
  });
}

TEST(Embedding, RepeatsForAnyNumberOfThreads) {
  EXPECT_TRUE(testing::repeats_for_any_thread_count(lookup("odd", {50, 97}, {1021})));
}

TEST(Embedding, NoIdsIsLegal) {
  Tape tape;
  const Tensor weight = testing::random_tensor({3, 2}, DType::f32, 1);
  tape.watch(weight);
  const Tensor out = embedding(tape, weight, Tensor({0}, DType::i32));
  EXPECT_EQ(out.shape(), (Shape{0, 2}));
  tape.backward(out, Tensor({0, 2}, DType::f32));
  const Tensor grad = tape.grad(weight);
  for (const float value : grad.elements<float>()) EXPECT_EQ(value, 0.0f);
}

TEST(EmbeddingCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const OpCase& op_case :
       {lookup("one_id", {1, 1}, {}), lookup("prime_sizes", {11, 13}, {7}),
        lookup("two_axes", {5, 3}, {2, 17}), lookup("many_ids", {53, 97}, {1021}),
        lookup("wider_than_a_block", {7, 1031}, {19}), lookup("large_table", {70000, 2}, {257}),
        lookup("power_of_two", {64, 5}, {300})}) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
  }
}

// The table's gradient from `ids`, added to what is there if `prefilled`, on the device of both.
Tensor table_gradient(Device device, const Tensor& ids, bool prefilled) {
  const Tensor weight = testing::random_tensor({11, 67}, DType::f32, 1).to(device);
  Tape tape;
  tape.watch(weight);
  if (prefilled)
    copy_elements(testing::random_tensor({11, 67}, DType::f32, 2), tape.slot(weight).grad);
  const Tensor out = embedding(tape, weight, ids);
  tape.backward(out, testing::random_tensor(out.shape(), DType::f32, 3).to(device));
  return tape.grad(weight).to(Device{});
}

TEST(EmbeddingCuda, AddsInTheOrderOfTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor ids = some_ids({500}, 11);
  for (const bool prefilled : {false, true}) {
    const Tensor got = table_gradient(testing::kCuda, ids, prefilled),
                 expected = table_gradient(Device{}, ids, prefilled);
    EXPECT_EQ(std::memcmp(got.raw(), expected.raw(), static_cast<size_t>(got.bytes())), 0);
  }
}

TEST(EmbeddingCuda, AWrongIdThereIsNaNWithoutGradient) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor ids = Tensor::from<int32_t>({5}, {3, -1, 11, 1 << 30, 3});
  const Tensor there = ids.to(testing::kCuda);
  Tape none = Tape::none();
  const Tensor weight = testing::random_tensor({11, 67}, DType::f32, 1).to(testing::kCuda);
  const Tensor out = embedding(none, weight, there).to(Device{});
  for (int64_t n = 0; n < 5; ++n) {
    EXPECT_EQ(std::isnan(out.data<float>()[n * 67 + 66]), n > 0 && n < 4) << n;
  }
  const Tensor grad = table_gradient(testing::kCuda, there, false);
  for (int64_t i = 0; i < grad.size(); ++i) {
    EXPECT_EQ(grad.data<float>()[i] == 0, i / 67 != 3) << i;
  }
}

// The table lies between rows that are not its own.
TEST(EmbeddingCuda, AWrongIdWritesNothingBesideTheTable) {
  OFFSHOOT_NEEDS_CUDA();
  if constexpr (kHasCuda) {
    const Tensor ids = Tensor::from<int32_t>({6}, {3, -1, 11, 12, 1 << 30, 3}).to(testing::kCuda);
    const Tensor dout = testing::random_tensor({6, 67}, DType::f32, 3).to(testing::kCuda);
    const auto bytes = static_cast<int64_t>(cuda::embedding_scratch_bytes(6));
    const Tensor scratch({(bytes + 3) / 4}, DType::i32, testing::kCuda);
    for (const bool overwrite : {false, true}) {
      const Tensor all = Tensor::full({14, 67}, DType::f32, 7.0, testing::kCuda);
      cuda::embedding_backward(dout.device_data<float>(), ids.device_data<int32_t>(), 6, 11, 67,
                               scratch.address(), all.rows(1, 11).device_data<float>(), overwrite,
                               cuda::use(testing::kCuda.index));
      const Tensor here = all.to(Device{});
      for (int64_t i = 0; i < here.size(); ++i) {
        const int64_t row = i / 67 - 1;
        if (row == 3) continue;
        const bool beside = row < 0 || row >= 11;
        ASSERT_EQ(here.data<float>()[i], beside || !overwrite ? 7.0f : 0.0f) << "row " << row;
      }
    }
  }
}

TEST(EmbeddingCuda, NoIdsIsLegal) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor grad = table_gradient(testing::kCuda, Tensor({0}, DType::i32), false);
  for (const float value : grad.elements<float>()) EXPECT_EQ(value, 0.0f);
}

TEST(EmbeddingCuda, DoesNotWait) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor weight = testing::random_tensor({5, 3}, DType::f32, 1).to(testing::kCuda);
  const Tensor dout = testing::random_tensor({7, 3}, DType::f32, 2).to(testing::kCuda);
  const int64_t before = device_waits();
  Tape tape;
  tape.watch(weight);
  tape.backward(embedding(tape, weight, some_ids({7}, 5)), dout);
  EXPECT_EQ(device_waits(), before);
}

TEST(Embedding, NamesWhatIsWrong) {
  const Tensor weight({3, 2}, DType::f32);
  const auto message = [](const Tensor& table, const Tensor& ids) {
    return testing::error_text([&] {
      Tape tape;
      embedding(tape, table, ids);
    });
  };
  EXPECT_EQ(message(weight, Tensor::from<int32_t>({2}, {0, 3})),
            "[embedding] ids: got 3, expected a number in [0, 3)");
  EXPECT_EQ(message(weight, Tensor::from<int32_t>({2}, {-1, 0})),
            "[embedding] ids: got -1, expected a number in [0, 3)");
  EXPECT_EQ(message(weight, Tensor::from<int64_t>({1}, {0})),
            "[embedding] ids: got i64, expected i32");
  EXPECT_EQ(message(Tensor({3}, DType::f32), Tensor::from<int32_t>({1}, {0})),
            "[embedding] weight: got shape [3], expected 2 axes");
}

}  // namespace
}  // namespace offshoot
