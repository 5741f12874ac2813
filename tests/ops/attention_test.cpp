#include "ops/attention.h"

#include <gtest/gtest.h>

#include "cuda/attention.h"
#include "tests/ops/op_check.h"
#include "tests/support/golden_check.h"

namespace offshoot {
namespace {

using testing::OpCase;

// About a third of the keys hidden; of the last sequence all.
Tensor some_mask(int64_t B, int64_t Tk) {
  Random random(5, 0);
  Tensor mask({B, Tk}, DType::i32);
  for (int64_t i = 0; i < mask.size(); ++i) {
    mask.data<int32_t>()[i] = i < (B - 1) * Tk && random.below(3) > 0 ? 1 : 0;
  }
  return mask;
}

struct Sizes {
  int64_t B, Tq, Tk, heads, Dh;
  bool causal = false, masked = false;

  AttentionOptions options() const {
    return {heads, causal, masked ? some_mask(B, Tk) : Tensor(), 0};
  }
};

OpCase attend(std::string name, const Sizes& sizes) {
  const int64_t D = sizes.heads * sizes.Dh;
  const Shape queries{sizes.B, sizes.Tq, D}, keys{sizes.B, sizes.Tk, D};
  return {std::move(name),
          {queries, keys, keys},
          [options = sizes.options()](Tape& tape, const std::vector<Tensor>& in) {
            return attention(tape, in[0], in[1], in[2], options);
          }};
}

OpCase attend_self(std::string name, const Sizes& sizes) {
  return {std::move(name),
          {{sizes.B, sizes.Tq, 3 * sizes.heads * sizes.Dh}},
          [options = sizes.options()](Tape& tape, const std::vector<Tensor>& in) {
            return self_attention(tape, in[0], options);
          }};
}

class AttentionGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(AttentionGradient, MatchesCentralDifferences) {
  EXPECT_LT(testing::gradient_error(GetParam()), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Cases, AttentionGradient,
                         ::testing::Values(attend("two_keys", {1, 1, 2, 1, 1}),
                                           attend("prime_sizes", {2, 5, 7, 3, 5}),
                                           attend("causal", {2, 13, 13, 2, 3, true}),
                                           attend("masked", {3, 5, 11, 1, 2, false, true}),
                                           attend("causal_masked", {2, 11, 11, 2, 2, true, true}),
                                           attend("several_blocks_of_keys", {1, 3, 307, 1, 2}),
                                           attend("causal_blocks", {1, 151, 151, 1, 3, true}),
                                           attend("wide_heads", {1, 9, 10, 1, 37}),
                                           attend_self("self_prime_sizes", {2, 7, 7, 2, 5}),
                                           attend_self("self_causal", {2, 17, 17, 2, 3, true})),
                         testing::case_name);

// The golden values hold heads apart: [B, heads, T, Dh]; one head at a time is as good.
Tensor merge(const Tensor& x) { return x.view({x.dim(0) * x.dim(1), x.dim(2), x.dim(3)}); }

TEST(Attention, MatchesGoldenValues) {
  testing::expect_matches_golden("attention", [](Tape& tape, const testing::GoldenCase& golden) {
    const auto split = [&](const std::string& name) {
      const Tensor& x = golden[name];
      const Tensor merged = merge(x);
      tape.record("merge", {x}, merged,
                  [x](Tape& walk, const Tensor& dout) { walk.give(x, dout); });
      return merged;
    };
    AttentionOptions options{1, golden.flag("causal"), {}, 0};
    const int64_t B = golden["q"].dim(0), heads = golden["q"].dim(1), T = golden["q"].dim(2);
    if (const Tensor& keys = golden["keys"]; keys.defined()) {
      options.key_mask = Tensor({B * heads, T}, DType::i32);
      for (int64_t row = 0; row < B * heads; ++row) {
        std::copy_n(keys.data<int32_t>() + row / heads * T, T,
                    options.key_mask.data<int32_t>() + row * T);
      }
    }
    const Tensor out = attention(tape, split("q"), split("k"), split("v"), options);
    const Tensor apart = out.view(golden["q"].shape());
    tape.record("split", {out}, apart,
                [out](Tape& walk, const Tensor& dout) { walk.give(out, dout); });
    return apart;
  });
}

TEST(Attention, FollowsTheReference) {
  Tape tape = Tape::none();
  const Sizes cases[] = {{16, 64, 64, 4, 16, true},
                         {2, 131, 131, 3, 16, true, true},
                         {3, 17, 300, 2, 33},
                         {1, 5, 1, 1, 7},
                         {2, 40, 129, 1, 64, false, true}};
  for (const Sizes& sizes : cases) {
    const int64_t D = sizes.heads * sizes.Dh;
    const Tensor q = testing::random_tensor({sizes.B, sizes.Tq, D}, DType::f64, 1);
    const Tensor k = testing::random_tensor({sizes.B, sizes.Tk, D}, DType::f64, 2);
    const Tensor v = testing::random_tensor({sizes.B, sizes.Tk, D}, DType::f64, 3);
    EXPECT_LT(testing::relative_error(attention(tape, q, k, v, sizes.options()),
                                      attention_reference(q, k, v, sizes.options())),
              1e-12);
  }
}

TEST(Attention, SelfAttentionIsAttentionOfItsParts) {
  Tape tape = Tape::none();
  const Tensor qkv = testing::random_tensor({2, 19, 3 * 10}, DType::f64, 1);
  Tensor parts[3];
  for (int64_t part = 0; part < 3; ++part) {
    parts[part] = Tensor({2, 19, 10}, DType::f64);
    for (int64_t row = 0; row < 2 * 19; ++row) {
      std::copy_n(qkv.data<double>() + row * 30 + part * 10, 10,
                  parts[part].data<double>() + row * 10);
    }
  }
  const AttentionOptions options{2, true, {}, 0.7};
  EXPECT_EQ(testing::relative_error(self_attention(tape, qkv, options),
                                    attention(tape, parts[0], parts[1], parts[2], options)),
            0.0);
}

// One tensor as queries, keys and values has one slot, which three parts of backward add to.
TEST(Attention, OneTensorMayPlayEveryPart) {
  const OpCase op_case{"shared", {{2, 11, 6}}, [](Tape& tape, const std::vector<Tensor>& in) {
                         return attention(tape, in[0], in[0], in[0], {.heads = 2, .causal = true});
                       }};
  EXPECT_LT(testing::gradient_error(op_case), 1e-6);
}

TEST(Attention, SinglePrecisionFollowsDouble) {
  EXPECT_LT(testing::single_precision_error(attend("main", {16, 64, 64, 4, 16, true})), 1e-5);
  EXPECT_LT(testing::single_precision_error(attend("long", {1, 301, 301, 2, 24, false, false})),
            1e-5);
}

TEST(Attention, RepeatsForAnyNumberOfThreads) {
  EXPECT_TRUE(testing::repeats_for_any_thread_count(attend("odd", {5, 67, 67, 3, 11, true})));
}

std::vector<OpCase> cuda_cases() {
  return {attend("one_key", {1, 1, 1, 1, 1}),
          attend("prime_sizes", {2, 7, 33, 3, 5}),
          attend("queries_beyond_a_tile", {1, 65, 7, 2, 16}),
          attend("keys_beyond_a_tile", {1, 7, 65, 1, 64}),
          attend("causal", {2, 33, 33, 2, 16, true}),
          attend("causal_one", {3, 1, 1, 2, 1, true}),
          attend("masked", {3, 7, 65, 2, 5, false, true}),
          attend("causal_masked", {2, 65, 65, 1, 72, true, true}),
          attend("widest_heads", {1, 18, 33, 1, 256}),
          attend("wide_odd_heads", {1, 17, 33, 2, 131, false, true}),
          attend_self("self_one", {2, 1, 1, 3, 1}),
          attend_self("self", {2, 7, 7, 2, 5}),
          attend_self("self_causal", {2, 65, 65, 2, 16, true}),
          attend_self("self_causal_masked", {2, 33, 33, 3, 1, true, true})};
}

TEST(AttentionCuda, FollowsTheCpu) {
  OFFSHOOT_NEEDS_CUDA();
  for (const OpCase& op_case : cuda_cases()) {
    EXPECT_LT(testing::cuda_error(op_case), 1e-5) << op_case.name;
    EXPECT_LT(testing::cuda_bf16_error(op_case), 2e-2) << op_case.name;
  }
}

TEST(AttentionCuda, OneTensorMayPlayEveryPart) {
  OFFSHOOT_NEEDS_CUDA();
  const OpCase op_case{"shared", {{2, 11, 6}}, [](Tape& tape, const std::vector<Tensor>& in) {
                         return attention(tape, in[0], in[0], in[0], {.heads = 2, .causal = true});
                       }};
  EXPECT_LT(testing::cuda_error(op_case), 1e-5);
}

TEST(AttentionCuda, AnyGradientMayBeWantedAlone) {
  OFFSHOOT_NEEDS_CUDA();
  std::vector<Tensor> inputs;
  for (const uint64_t seed : {1, 2, 3}) {
    inputs.push_back(testing::random_tensor({2, 9, 6}, DType::f32, seed).to(testing::kCuda));
  }
  const auto gradients = [&](std::initializer_list<size_t> watched) {
    Tape tape;
    for (const size_t i : watched) tape.watch(inputs[i]);
    const Tensor out = attention(tape, inputs[0], inputs[1], inputs[2], {.heads = 2});
    tape.backward(out, Tensor::full(out.shape(), DType::f32, 0.5, testing::kCuda));
    std::vector<Tensor> grads;
    for (const size_t i : watched) grads.push_back(tape.grad(inputs[i]).to(Device{}));
    return grads;
  };
  const auto all = gradients({0, 1, 2});
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(testing::relative_error(gradients({i})[0], all[i]), 0.0) << i;
  }
}

// A single visible key has probability 1; what is subtracted in dq and dk is rounding only.
TEST(AttentionCuda, OneTokenIsItsValue) {
  OFFSHOOT_NEEDS_CUDA();
  for (const int64_t Dh : {5, 72}) {
    std::vector<Tensor> inputs;
    for (const uint64_t seed : {1, 2, 3, 4}) {
      inputs.push_back(testing::random_tensor({3, 1, 2 * Dh}, DType::f32, seed));
    }
    Tape tape;
    const Tensor v = inputs[2].to(testing::kCuda);
    tape.watch(v);
    const Tensor out = attention(tape, inputs[0].to(testing::kCuda), inputs[1].to(testing::kCuda),
                                 v, {.heads = 2, .causal = true});
    EXPECT_EQ(testing::relative_error(out.to(Device{}), inputs[2]), 0.0);
    tape.backward(out, inputs[3].to(testing::kCuda));
    EXPECT_EQ(testing::relative_error(tape.grad(v).to(Device{}), inputs[3]), 0.0);
  }
}

void expect_zeros(const Tensor& tensor) {
  const Tensor here = tensor.to(Device{});
  for (const float value : here.elements<float>()) EXPECT_EQ(value, 0.0f);
}

TEST(AttentionCuda, NoSequencesQueriesOrKeysAreLegal) {
  OFFSHOOT_NEEDS_CUDA();
  const Device device = testing::kCuda;
  const Tensor none({2, 0, 4}, DType::f32, device), no_batch({0, 3, 12}, DType::f32, device);
  const Tensor some = testing::random_tensor({2, 3, 4}, DType::f32, 1).to(device);
  Tape no_keys, no_queries, nothing;
  for (Tape* tape : {&no_keys, &no_queries, &nothing}) {
    for (const Tensor& input : {none, some, no_batch}) tape->watch(input);
  }
  const Tensor blind = attention(no_keys, some, none, none, {.heads = 2});
  expect_zeros(blind);
  no_keys.backward(blind, some.clone());
  expect_zeros(no_keys.grad(some));
  const Tensor idle = attention(no_queries, none, some, some, {.heads = 2});
  no_queries.backward(idle, none.clone());
  expect_zeros(no_queries.grad(some));
  const Tensor empty = self_attention(nothing, no_batch, {.heads = 2});
  nothing.backward(empty, empty.clone());
  EXPECT_EQ(nothing.grad(no_batch).size(), 0);
}

TEST(AttentionCuda, LargeScoresDoNotOverflow) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape = Tape::none();
  const Tensor q = Tensor::from<float>({1, 1, 1}, {1.0f}).to(testing::kCuda);
  const Tensor k = Tensor::from<float>({1, 2, 1}, {1e4f, -1e4f}).to(testing::kCuda);
  const Tensor v = Tensor::from<float>({1, 2, 1}, {3.0f, 5.0f}).to(testing::kCuda);
  EXPECT_EQ(attention(tape, q, k, v, {}).item(), 3.0);
}

TEST(AttentionCuda, NeverWaitsAndCountsItsCalls) {
  OFFSHOOT_NEEDS_CUDA();
  if constexpr (kHasCuda) {
    const Tensor qkv = Tensor::zeros({2, 3, 12}, DType::f32, testing::kCuda);
    const Tensor mask = Tensor::from<int32_t>({2, 3}, {1, 1, 1, 1, 0, 1});
    const int64_t waits = device_waits(), calls = cuda::attention_stats().own;
    Tape tape;
    tape.watch(qkv);
    const Tensor out = self_attention(tape, qkv, {.heads = 2, .key_mask = mask});
    tape.backward(out, Tensor::zeros(out.shape(), DType::f32, testing::kCuda));
    EXPECT_EQ(device_waits(), waits);
    EXPECT_EQ(cuda::attention_stats().own, calls + 2);
  }
}

TEST(AttentionCuda, SaysWhatItCannotDo) {
  OFFSHOOT_NEEDS_CUDA();
  Tape tape;
  const Tensor x({1, 2, 257}, DType::f32, testing::kCuda), y({1, 2, 257}, DType::f32);
  EXPECT_EQ(testing::error_text([&] { attention(tape, x, x, x, {}); }),
            "[attention] columns of a head: got 257 on CUDA, expected at most 256");
  EXPECT_EQ(testing::error_text([&] { attention(tape, x, y, y, {}); }),
            "[attention] k: got a tensor on cpu, expected cuda:0");
}

TEST(Attention, LargeScoresDoNotOverflow) {
  Tape tape = Tape::none();
  const Tensor q = Tensor::from<float>({1, 1, 1}, {1.0f});
  const Tensor k = Tensor::from<float>({1, 2, 1}, {1e4f, -1e4f});
  const Tensor v = Tensor::from<float>({1, 2, 1}, {3.0f, 5.0f});
  const Tensor out = attention(tape, q, k, v, {});
  EXPECT_EQ(out.data<float>()[0], 3.0f);
}

TEST(Attention, NoQueriesAndNoKeysAreLegal) {
  Tape tape;
  const Tensor none({2, 0, 4}, DType::f32), some = testing::random_tensor({2, 3, 4}, DType::f32, 1);
  for (const Tensor& input : {none, some}) tape.watch(input);
  EXPECT_EQ(attention(tape, none, some, some, {.heads = 2}).size(), 0);
  const Tensor blind = attention(tape, some, none, none, {.heads = 2});
  for (const float value : blind.elements<float>()) EXPECT_EQ(value, 0.0f);
  tape.backward(blind, some.clone());
  const Tensor grad = tape.grad(some);
  for (const float value : grad.elements<float>()) EXPECT_EQ(value, 0.0f);
}

TEST(Attention, NamesWhatIsWrong) {
  const Tensor q({2, 3, 4}, DType::f32), k({2, 5, 4}, DType::f32);
  const auto message = [](const Tensor& a, const Tensor& b, const AttentionOptions& options) {
    return testing::error_text([&] {
      Tape tape;
      attention(tape, a, b, b, options);
    });
  };
  EXPECT_EQ(message(q, k, {.heads = 3}),
            "[attention] heads: got 3, expected a divisor of 4 columns");
  EXPECT_EQ(message(q, k, {.causal = true}),
            "[attention] causal: got 3 queries and 5 keys, expected as many");
  EXPECT_EQ(message(q, Tensor({2, 5, 6}, DType::f32), {}),
            "[attention] k: got shape [2, 5, 6], expected [2, 5, 4]");
  EXPECT_EQ(message(q, Tensor({2, 5, 4}, DType::f64), {}), "[attention] k: got f64, expected f32");
  EXPECT_EQ(message(q, k, {.key_mask = Tensor({2, 3}, DType::i32)}),
            "[attention] key_mask: got shape [2, 3], expected [2, 5]");
  EXPECT_EQ(message(q, k, {.scale = -1}),
            "[attention] scale: got -1, expected a positive number, or 0");
  Tape tape;
  EXPECT_EQ(testing::error_text([&] { self_attention(tape, q, {}); }),
            "[self_attention] qkv: got shape [2, 3, 4], expected [2, 3, 3]");
}

}  // namespace
}  // namespace offshoot
