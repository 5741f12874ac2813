// A graph recorded before a growth, replayed after it.
#include <gtest/gtest.h>

#include "cuda/context.h"
#include "cuda/elements.h"
#include "cuda/graph.h"
#include "engine/address_space.h"
#include "engine/error.h"
#include "engine/parameter.h"
#include "engine/testing/gradcheck.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

using testing::kCuda;

// The graph holds the addresses of its day. Rows are so long that growth needs new memory, and
// removal gives some back.
TEST(GraphGrowthCuda, ACapturedGraphKeepsReplaying) {
  OFFSHOOT_NEEDS_CUDA();
  const Shape shape{3, reserve_addresses(1, kCuda, Backing::at_commit)->granule_bytes() / 4};
  GrowthGroup experts("experts", shape[0]);
  Parameter weight("w", testing::random_tensor(shape, DType::f32, 1).to(kCuda), experts,
                   /*reserve_rows=*/8);
  constexpr int64_t kSample = 300;  // of each row
  const Tensor doubled({shape[0], kSample}, DType::f32, kCuda);
  auto graph = cuda::Graph::capture(kCuda.index, [&] {
    for (int64_t row = 0; row < shape[0]; ++row) {
      cuda::scale_elements(weight.value().device_data<float>() + row * shape[1],
                           doubled.device_data<float>() + row * kSample, kSample, 2.0f,
                           cuda::use(kCuda.index));
    }
  });
  const auto expect_doubled = [&](const char* when) {
    copy_elements(Tensor::zeros(doubled.shape(), DType::f32), doubled);
    graph.replay();
    const Tensor got = doubled.to(Device{}), all = weight.value().to(Device{});
    for (int64_t row = 0; row < shape[0]; ++row) {
      for (int64_t i = 0; i < kSample; ++i) {
        ASSERT_EQ(got.data<float>()[row * kSample + i], 2 * all.data<float>()[row * shape[1] + i])
            << when << ", row " << row << ", element " << i;
      }
    }
  };
  expect_doubled("before");
  experts.duplicate(1);
  expect_doubled("after a duplication");
  experts.remove(0);  // the last row takes its place
  expect_doubled("after a removal");
}

// What a captured graph writes to is nobody else's until the graph dies.
TEST(GraphGrowthCuda, AGraphKeepsTheMemoryOfItsTensors) {
  OFFSHOOT_NEEDS_CUDA();
  const Shape shape{1000};
  const Tensor x = Tensor::full(shape, DType::f32, 1, kCuda);
  {
    auto graph = cuda::Graph::capture(kCuda.index, [&] {
      const Tensor scratch(shape, DType::f32, kCuda);
      cuda::scale_elements(x.device_data<float>(), scratch.device_data<float>(), shape.size(), 2.0f,
                           cuda::use(kCuda.index));
    });
    std::vector<Tensor> sevens;  // more than the pool had free
    for (int i = 0; i < 4; ++i) sevens.push_back(Tensor::full(shape, DType::f32, 7, kCuda));
    release_pooled_storage(kCuda);
    graph.replay();
    for (const Tensor& seven : sevens) {
      const Tensor host = seven.to(Device{});
      for (const float value : host.elements<float>()) ASSERT_EQ(value, 7);
    }
  }
  const int64_t in_use = storage_stats(kCuda).pooled_bytes_in_use;
  const Tensor again(shape, DType::f32, kCuda);
  EXPECT_GT(storage_stats(kCuda).pooled_bytes_in_use, in_use) << "given back by the graph";
}

TEST(GraphGrowthCuda, GrowthIsNoPartOfAGraph) {
  OFFSHOOT_NEEDS_CUDA();
  GrowthGroup experts("experts", 2);
  Parameter weight("w", Tensor::full({2, 5}, DType::f32, 1, kCuda), experts, /*reserve_rows=*/8);
  for (const bool removes : {false, true}) {
    EXPECT_THROW(
        cuda::Graph::capture(kCuda.index,
                             [&] { removes ? experts.remove(0) : (void)experts.duplicate(0); }),
        Error);
    EXPECT_EQ(experts.rows(), 2);
    EXPECT_EQ(weight.value().dim(0), 2);
  }
  experts.duplicate(0);
  EXPECT_EQ(weight.value().dim(0), 3);
}

}  // namespace
}  // namespace offshoot
