// Tensors, storage, tapes and parameters on a CUDA device.
#include "engine/device.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cuda/context.h"
#include "cuda/elements.h"
#include "cuda/memory.h"
#include "engine/parameter.h"
#include "engine/storage.h"
#include "engine/tape.h"
#include "engine/testing/gradcheck.h"
#include "tests/support/cuda_device.h"

namespace offshoot {
namespace {

using testing::kCuda;

template <class F>
std::string message(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::vector<float> values(const Tensor& tensor) {
  const Tensor host = tensor.to(Device{});
  const auto elements = host.elements<float>();
  return {elements.begin(), elements.end()};
}

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  const Tensor host = tensor.to(Device{});
  return {host.raw(), host.raw() + host.bytes()};
}

// New memory is full of NaN while this lives.
struct Poison {
  Poison() { testing::poison_storage(true); }
  ~Poison() {
#ifndef OFFSHOOT_POISON
    testing::poison_storage(false);
#endif
  }
};

// Three float elements on the device.
Tensor three(float first = 1.0f) {
  return Tensor::from<float>({3}, {first, first + 1, first + 2}).to(kCuda);
}

TEST(DeviceCuda, HasANameThatReadsBack) {
  OFFSHOOT_NEEDS_CUDA();
  EXPECT_EQ(parse_device("cuda"), kCuda);
  EXPECT_EQ(parse_device("cuda:0"), kCuda);
  EXPECT_EQ(to_string(kCuda), "cuda:0");
  EXPECT_NE(kCuda, Device{});
  for (const char* text : {"cuda:", "cuda:-1", "cuda:0x", "cuda0", "cuda:999", "gpu"}) {
    EXPECT_THROW((void)parse_device(text), Error) << text;
  }
}

TEST(DeviceCuda, CountsEveryWait) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor tensor = three();
  const int64_t before = device_waits();
  (void)tensor.to(Device{});
  EXPECT_EQ(device_waits(), before + 1);
  (void)tensor.rows(0, 1).item();
  EXPECT_EQ(device_waits(), before + 2);
  synchronize(kCuda);
  EXPECT_GE(device_waits(), before + 3);
  synchronize(Device{});
}

TEST(TensorCuda, GoesThereAndBackBitForBit) {
  OFFSHOOT_NEEDS_CUDA();
  const Poison poison;
  const int64_t before = device_waits();
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i32, DType::i64}) {
    for (const int64_t size : {0, 1, 3, 257, 100003}) {
      const Tensor here({size}, dtype);
      for (int64_t i = 0; i < here.bytes(); ++i) here.raw()[i] = static_cast<std::byte>(i * 7);
      const Tensor there = here.to(kCuda);
      EXPECT_EQ(there.device(), kCuda);
      EXPECT_EQ(there.shape(), here.shape());
      EXPECT_EQ(there.dtype(), dtype);
      EXPECT_EQ(bytes_of(there), bytes_of(here)) << to_string(dtype) << " " << size;
      EXPECT_EQ(bytes_of(there.clone()), bytes_of(here));
      EXPECT_EQ(there.to(kCuda).key(), there.key());
    }
  }
  EXPECT_GT(device_waits(), before);
}

TEST(TensorCuda, TheSourceMayChangeAtOnce) {
  OFFSHOOT_NEEDS_CUDA();
  const int64_t before = device_waits();
  const Tensor here = Tensor::full({1000}, DType::f32, 1.0);
  const Tensor there = here.to(kCuda);
  fill_zero(here);
  EXPECT_EQ(device_waits(), before);
  EXPECT_EQ(values(there), std::vector<float>(1000, 1.0f));
}

TEST(TensorCuda, IsMadeThere) {
  OFFSHOOT_NEEDS_CUDA();
  const Poison poison;
  EXPECT_EQ(values(Tensor::zeros({5, 3}, DType::f32, kCuda)), std::vector<float>(15, 0.0f));
  EXPECT_EQ(values(Tensor::full({7}, DType::f32, -2.5, kCuda)), std::vector<float>(7, -2.5f));
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i32, DType::i64}) {
    EXPECT_EQ(Tensor::full({}, dtype, -3, kCuda).item(), -3) << to_string(dtype);
    EXPECT_EQ(Tensor::zeros({1}, dtype, kCuda).item(), 0) << to_string(dtype);
  }
  EXPECT_EQ(Tensor::zeros({0, 4}, DType::f32, kCuda).size(), 0);
  EXPECT_THROW((void)three().item(), Error);
}

TEST(TensorCuda, ViewsShareElements) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor a = Tensor::from<float>({3, 2}, {0, 1, 2, 3, 4, 5}).to(kCuda);
  EXPECT_EQ(values(a.rows(1, 2)), (std::vector<float>{2, 3, 4, 5}));
  EXPECT_EQ(a.rows(1, 1).device(), kCuda);
  EXPECT_EQ(a.rows(1, 1).address(), a.address() + 8);
  fill_zero(a.rows(1, 1));
  EXPECT_EQ(values(a.view({6})), (std::vector<float>{0, 1, 0, 0, 4, 5}));
  const Tensor copy = a.rows(2, 1).clone();
  fill_zero(a);
  EXPECT_EQ(values(copy), (std::vector<float>{4, 5}));
}

TEST(TensorCuda, ElementsAreNotTheCpus) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor there = three(), here = Tensor::zeros({3}, DType::f32);
  const std::string text =
      "[tensor] elements: got them on cuda:0, expected cpu: copy them with to()";
  EXPECT_EQ(message([&] { (void)there.raw(); }), text);
  EXPECT_EQ(message([&] { (void)there.data<float>(); }), text);
  EXPECT_EQ(message([&] { (void)there.elements<float>(); }), text);
  EXPECT_THROW((void)there.device_data<int32_t>(), Error);
  EXPECT_THROW((void)here.device_data<float>(), Error);
  EXPECT_EQ(reinterpret_cast<std::byte*>(there.device_data<float>()), there.address());
  EXPECT_EQ(here.address(), here.raw());
}

TEST(TensorCuda, CopiesInAllDirections) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor here = Tensor::from<float>({3}, {1, 2, 3});
  const Tensor there = Tensor::zeros({3}, DType::f32, kCuda), second = there.clone();
  const Tensor back = Tensor::zeros({3}, DType::f32);
  copy_elements(here, there);
  copy_elements(there, second);
  fill_zero(there);
  copy_elements(second, back);
  EXPECT_EQ(values(back), values(here));
  EXPECT_EQ(values(there), std::vector<float>(3, 0.0f));
  EXPECT_THROW(copy_elements(here, Tensor::zeros({3, 1}, DType::f32, kCuda)), Error);
  EXPECT_THROW(copy_elements(there, Tensor::zeros({3}, DType::f64)), Error);
}

TEST(TensorCuda, AHostCopyIsMadeOnceForAllCopiesOfTheHandle) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor tensor = three(), same = tensor;
  const int64_t before = device_waits();
  tensor.begin_host_copy();
  EXPECT_EQ(device_waits(), before);
  const Tensor host = same.host_copy();
  const int64_t after = device_waits();
  EXPECT_LE(after, before + 1);
  EXPECT_EQ(values(host), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(tensor.host_copy().key(), host.key());
  tensor.begin_host_copy();  // again: nothing
  EXPECT_EQ(device_waits(), after);
  // What was begun shows what was there then.
  const Tensor other = three(5.0f);
  other.begin_host_copy();
  fill_zero(other);
  EXPECT_EQ(values(other.host_copy()), (std::vector<float>{5, 6, 7}));
  EXPECT_EQ(host.host_copy().key(), host.key());  // on the CPU: itself
  EXPECT_EQ(Tensor::zeros({0}, DType::i64, kCuda).host_copy().size(), 0);
}

int64_t requests() { return storage_stats(kCuda).system_requests; }

TEST(StorageCuda, HasACacheOfItsOwn) {
  OFFSHOOT_NEEDS_CUDA();
  const StorageStats cpu = storage_stats(), cuda = storage_stats(kCuda);
  std::shared_ptr<Storage> block = pooled_storage(10000, kCuda);
  const std::byte* data = block->data();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 256, 0u);
  EXPECT_EQ(block->device(), kCuda);
  EXPECT_EQ(storage_stats().pooled_bytes_in_use, cpu.pooled_bytes_in_use);
  EXPECT_EQ(storage_stats(kCuda).pooled_bytes_in_use, cuda.pooled_bytes_in_use + 10240);
  const int64_t waits = device_waits();
  block.reset();
  EXPECT_EQ(pooled_storage(9990, kCuda)->data(), data);
  EXPECT_EQ(device_waits(), waits);
}

TEST(StorageCuda, BlocksAreAlignedForCudasLibraries) {
  OFFSHOOT_NEEDS_CUDA();
  std::vector<std::shared_ptr<Storage>> blocks;
  for (const int64_t bytes : {0, 1, 257, 300, 321, 500, 641, 1024, 1025, 1281, 4097, 100003}) {
    for (int i = 0; i < 3; ++i) {
      blocks.push_back(pooled_storage(bytes, kCuda));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back()->data()) % 256, 0u) << bytes;
    }
  }
}

TEST(StorageCuda, ALoopOfConstantShapesAsksTheSystemInItsFirstPassOnly) {
  OFFSHOOT_NEEDS_CUDA();
  int64_t after_first = 0;
  for (int pass = 0; pass < 5; ++pass) {
    std::vector<Tensor> tensors;
    for (int64_t size = 1; size < 100000; size = 2 * size + 1) {
      tensors.push_back(Tensor::zeros({size}, DType::f32, kCuda));
    }
    if (pass == 0) after_first = requests();
  }
  EXPECT_EQ(requests(), after_first);
}

TEST(StorageCuda, PoisonShowsWhatIsReadBeforeItIsWritten) {
  OFFSHOOT_NEEDS_CUDA();
  (void)Tensor::zeros({1000}, DType::i32, kCuda);
  const Poison poison;
  const Tensor host = Tensor({1000}, DType::i32, kCuda).to(Device{});
  for (const int32_t value : host.elements<int32_t>()) ASSERT_EQ(value, -1);
}

// Memory of one size serves another before a lack of memory is an error.
TEST(StorageCuda, FreeBlocksAreJoinedWhereTheDeviceHasNoMore) {
  OFFSHOOT_NEEDS_CUDA();
  if constexpr (kHasCuda) {
    release_pooled_storage(kCuda);
    // In two blocks, so that one of their classes cannot serve.
    const int64_t half = (storage_stats(kCuda).pooled_bytes + (int64_t{64} << 20)) / 2;
    for (int i = 0; i < 2; ++i) {
      const auto first = pooled_storage(half, kCuda), second = pooled_storage(half, kCuda);
    }
    const int64_t waits = device_waits();
    cuda::testing::fail_commits_after(0);
    EXPECT_NO_THROW(pooled_storage(half + half / 2, kCuda));
    EXPECT_EQ(device_waits(), waits);
    EXPECT_NE(message([&] { (void)pooled_storage(4 * half, kCuda); }).find("cannot get"),
              std::string::npos);
    cuda::testing::fail_commits_after(-1);
    EXPECT_NO_THROW(pooled_storage(4 * half, kCuda));
    release_pooled_storage(kCuda);
  }
}

TEST(StorageCuda, RefusesSizesThatCannotBe) {
  OFFSHOOT_NEEDS_CUDA();
  const int64_t before = storage_stats(kCuda).pooled_bytes_in_use;
  EXPECT_THROW(pooled_storage(-1, kCuda), Error);
  EXPECT_THROW(pooled_storage(int64_t{1} << 50, kCuda), Error);
  EXPECT_EQ(storage_stats(kCuda).pooled_bytes_in_use, before);
}

// out = factor * x; its gradient goes back by give() or through a slot.
Tensor scaled(Tape& tape, const Tensor& x, float factor, bool gives) {
  Tensor out(x.shape(), x.dtype(), kCuda);
  const auto scale = [factor](const Tensor& from, const Tensor& to) {
    if constexpr (kHasCuda) {
      dispatch_cuda("scaled", from.dtype(), [&]<class T>(T) {
        cuda::scale_elements(from.device_data<T>(), to.device_data<T>(), from.size(), factor,
                             cuda::use(kCuda.index));
      });
    }
  };
  scale(x, out);
  tape.record("scaled", {x}, out, [=](Tape& walk, const Tensor& dout) {
    Tensor contribution(x.shape(), x.dtype(), kCuda);
    scale(dout, contribution);
    if (gives) return walk.give(x, contribution);
    const GradSlot slot = walk.slot(x);
    if constexpr (kHasCuda) {
      dispatch_cuda("scaled", x.dtype(), [&]<class T>(T) {
        cuda::accumulate_elements(contribution.device_data<T>(), slot.grad.device_data<T>(),
                                  x.size(), slot.overwrite, cuda::use(kCuda.index));
      });
    }
  });
  return out;
}

Tensor as(DType dtype, const Tensor& floats) {
  if (dtype == DType::f32) return floats.to(kCuda);
  Tensor rounded(floats.shape(), dtype);
  for (int64_t i = 0; i < floats.size(); ++i) {
    rounded.data<bfloat16>()[i] = to_bfloat16(floats.data<float>()[i]);
  }
  return rounded.to(kCuda);
}

std::vector<float> floats_of(const Tensor& tensor) {
  if (tensor.dtype() == DType::f32) return values(tensor);
  const Tensor host = tensor.to(Device{});
  std::vector<float> floats;
  for (const bfloat16 value : host.elements<bfloat16>()) floats.push_back(to_float(value));
  return floats;
}

TEST(TapeCuda, ContributionsAddUpInBothTypesWithoutAWait) {
  OFFSHOOT_NEEDS_CUDA();
  const Poison poison;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor x = as(dtype, Tensor::from<float>({3}, {1, -2, 4}));
    const Tensor seed = as(dtype, Tensor::from<float>({3}, {1, 0.5f, 0.25f}));
    const int64_t waits = device_waits();
    Tape tape;
    tape.watch(x);
    // x is used by two operations; y by two more, so that slots and gifts meet in either order.
    const Tensor y = scaled(tape, x, 2.0f, true);
    const Tensor a = scaled(tape, y, 3.0f, false), b = scaled(tape, y, 5.0f, true);
    const Tensor out({3}, dtype, kCuda);
    copy_elements(a, out);
    tape.record("both", {a, b, x}, out, [=](Tape& walk, const Tensor& dout) {
      walk.give(a, dout.clone());
      walk.give(b, dout.clone());
      walk.give(x, dout);
    });
    tape.backward(out, seed);
    const Tensor grad = tape.grad(x);
    EXPECT_EQ(device_waits(), waits);
    EXPECT_EQ(grad.dtype(), dtype);
    EXPECT_EQ(floats_of(grad), (std::vector<float>{17, 8.5f, 4.25f})) << to_string(dtype);
  }
}

TEST(TapeCuda, StartsFromOneWhereTheResultIsOneNumber) {
  OFFSHOOT_NEEDS_CUDA();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor x = as(dtype, Tensor::from<float>({1}, {7})),
                 unused = as(dtype, Tensor::zeros({2}, DType::f32));
    Tape tape;
    tape.watch(x);
    tape.watch(unused);
    tape.backward(scaled(tape, x, 3.0f, true));
    EXPECT_EQ(floats_of(tape.grad(x)), std::vector<float>{3});
    EXPECT_EQ(floats_of(tape.grad(unused)), (std::vector<float>{0, 0}));
    EXPECT_EQ(tape.grad(unused).device(), kCuda);
  }
}

TEST(TapeCuda, RefusesASeedThatLiesElsewhere) {
  OFFSHOOT_NEEDS_CUDA();
  const Tensor x = three();
  Tape tape;
  tape.watch(x);
  const Tensor out = scaled(tape, x, 3.0f, true);
  EXPECT_EQ(message([&] { tape.backward(out, Tensor::zeros({3}, DType::f32)); }),
            "[tape] seed: got f32 [3] on cpu, expected f32 [3] on cuda:0");
}

TEST(ParameterCuda, TheFirstContributionOverwritesAndLaterOnesAdd) {
  OFFSHOOT_NEEDS_CUDA();
  const Poison poison;
  GrowthGroup group("experts", 3);
  Parameter fixed("fixed", three()), growable("growable", three(), group);
  for (Parameter* p : {&fixed, &growable}) {
    EXPECT_EQ(p->value().device(), kCuda);
    EXPECT_EQ(values(p->value()), (std::vector<float>{1, 2, 3}));
    EXPECT_EQ(values(p->grad()), std::vector<float>(3, 0.0f));
    for (const std::vector<float>& expected : {std::vector<float>{2, 2, 2}, {5, 5, 5}}) {
      Tape tape;
      const Tensor& w = tape.watch(*p);
      const float factor = p->has_grad() ? 3.0f : 2.0f;
      tape.backward(scaled(tape, w, factor, false), Tensor::full({3}, DType::f32, 1.0, kCuda));
      EXPECT_EQ(values(p->grad()), expected) << p->name();
    }
    p->zero_grad();
    EXPECT_FALSE(p->has_grad());
    EXPECT_EQ(values(p->grad()), std::vector<float>(3, 0.0f));
    EXPECT_EQ(p->gradient_slot().grad.device(), kCuda);
  }
  EXPECT_EQ(group.duplicate(1), 3);
  EXPECT_EQ(values(growable.value()), (std::vector<float>{1, 2, 3, 2}));
}

TEST(ParameterCuda, IsOfFloat32ThereOnly) {
  OFFSHOOT_NEEDS_CUDA();
  GrowthGroup group("experts", 3);
  for (const DType dtype : {DType::f64, DType::bf16, DType::i32}) {
    EXPECT_THROW(Parameter("p", Tensor::zeros({3}, dtype, kCuda)), Error) << to_string(dtype);
    EXPECT_THROW(Parameter("p", Tensor::zeros({3}, dtype, kCuda), group), Error);
  }
  EXPECT_EQ(message([] { Parameter("p", Tensor::zeros({3}, DType::f64, kCuda)); }),
            "[p] dtype: got f64 on cuda:0, expected f32");
}

TEST(DeviceCuda, IndicesBelowZeroAreErrors) {
  OFFSHOOT_NEEDS_CUDA();
  const Device none{Device::Kind::cuda, -1};
  EXPECT_THROW(Tensor({2}, DType::f32, none), Error);
  EXPECT_THROW(Tensor({2}, DType::f32).to(none), Error);
  EXPECT_THROW(describe(none), Error);
}

}  // namespace
}  // namespace offshoot
