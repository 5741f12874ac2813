#include "ops/embedding.h"

#include <gtest/gtest.h>

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
