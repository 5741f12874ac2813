// A graph recorded before a growth, replayed after it.
#include <gtest/gtest.h>

#include "cuda/context.h"
#include "cuda/elements.h"
#include "cuda/graph.h"
#include "engine/address_space.h"
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

}  // namespace
}  // namespace offshoot
