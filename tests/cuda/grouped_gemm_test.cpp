// The products of a layer of experts against plain loops in double, expert by expert and in one
// kernel.
#include "cuda/grouped_gemm.h"

#include <string>
#include <vector>

#include "cuda/error.h"
#include "cuda/graph.h"
#include "tests/cuda/device_array.h"

namespace offshoot {
namespace {

using cuda::ConstElements;
using cuda::ElementType;
using cuda::GroupedActivation;
using cuda::GroupedKernel;
using cuda::kDevice;
using testing::DeviceArray;
using testing::random_values;
using testing::relative_error;
using testing::tolerance;

double gelu(double x) { return 0.5 * x * std::erfc(-x * M_SQRT1_2); }
double gelu_slope(double x) {
  return 0.5 * std::erfc(-x * M_SQRT1_2) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
}
double identity(double x) { return x; }

struct Shape {
  int64_t H, D;
  std::vector<int64_t> counts;  // rows of each expert, without those that pad its group
};

std::string text(const Shape& shape) {
  return std::to_string(shape.counts.size()) + " experts, H " + std::to_string(shape.H) + ", D " +
         std::to_string(shape.D);
}

// So many experts, with these counts again and again.
std::vector<int64_t> repeated(size_t experts, const std::vector<int64_t>& counts) {
  std::vector<int64_t> out;
  while (out.size() < experts) out.push_back(counts[out.size() % counts.size()]);
  return out;
}

std::vector<int64_t> offsets_of(const Shape& shape, GroupedKernel kernel) {
  const int64_t multiple = cuda::group_rows(kernel);
  std::vector<int64_t> offsets{0};
  for (const int64_t count : shape.counts) {
    offsets.push_back(offsets.back() + (count + multiple - 1) / multiple * multiple);
  }
  return offsets;
}

// A row-major matrix on the host and the device.
template <class T>
struct Matrix {
  int64_t columns;
  std::vector<T> host;
  DeviceArray<T> device;

  Matrix(int64_t rows, int64_t num_columns, std::mt19937& generator, float scale = 1.0f)
      : columns(num_columns),
        host(random_values<T>(rows * columns, generator, scale)),
        device(host) {}

  double operator()(int64_t row, int64_t column) const {
    return testing::to_float(host[static_cast<size_t>(row * columns + column)]);
  }
};

// A layer, its inputs, and what should come of them. The buffers have a few rows too many.
template <class T>
struct Case {
  int64_t H, D, E;
  std::vector<int64_t> offsets;
  int64_t rows = offsets.back(), capacity = rows + 3;
  std::mt19937 generator{5};
  Matrix<T> x{capacity, D, generator}, weight{E * H, D, generator, 0.3f};
  Matrix<T> dpre{capacity, H, generator};
  Matrix<float> bias{E, H, generator};
  DeviceArray<int64_t> device_offsets{offsets};
  cuda::GroupedLayer layer;

  Case(const Shape& shape, GroupedKernel kernel)
      : H(shape.H), D(shape.D), E(std::ssize(shape.counts)), offsets(offsets_of(shape, kernel)) {
    layer.rows.offsets = device_offsets.data();
    if (kernel == GroupedKernel::loop) layer.rows.host_offsets = offsets.data();
    layer.rows.num_experts = E;
    layer.rows.capacity = capacity;
    layer.H = H;
    layer.D = D;
    layer.kernel = kernel;
    layer.device = kDevice;
    // Rows that pad a group are zero in dpre.
    for (size_t e = 0; e < shape.counts.size(); ++e) {
      const int64_t first = offsets[e] + shape.counts[e], last = offsets[e + 1];
      std::fill(dpre.host.begin() + first * H, dpre.host.begin() + last * H, T{});
    }
    cuda::copy_to_device(dpre.device.data(), dpre.host.data(), capacity * H * int64_t{sizeof(T)},
                         kDevice);
  }

  // f(e, r) for each row r of each expert e.
  template <class F>
  void each_row(F f) const {
    for (int64_t e = 0; e < E; ++e) {
      for (int64_t r = offsets[static_cast<size_t>(e)]; r < offsets[static_cast<size_t>(e + 1)];
           ++r) {
        f(e, r);
      }
    }
  }

  // x W^T, computed once.
  const std::vector<double>& product() {
    if (product_.empty()) {
      each_row([&](int64_t e, int64_t r) {
        for (int64_t h = 0; h < H; ++h) {
          double sum = 0;
          for (int64_t d = 0; d < D; ++d) sum += x(r, d) * weight(e * H + h, d);
          product_.push_back(sum);
        }
      });
    }
    return product_;
  }
  // f of each element of pre.
  template <class F>
  std::vector<double> out(bool has_bias, F f) {
    std::vector<double> values = product();
    auto value = values.begin();
    each_row([&](int64_t e, int64_t) {
      for (int64_t h = 0; h < H; ++h, ++value) *value = f(*value + (has_bias ? bias(e, h) : 0.0));
    });
    return values;
  }
  const std::vector<double>& dx() {
    if (dx_.empty()) {
      each_row([&](int64_t e, int64_t r) {
        for (int64_t d = 0; d < D; ++d) {
          double sum = 0;
          for (int64_t h = 0; h < H; ++h) sum += dpre(r, h) * weight(e * H + h, d);
          dx_.push_back(sum);
        }
      });
    }
    return dx_;
  }
  const std::vector<double>& dweight() {
    if (dweight_.empty()) {
      dweight_.resize(static_cast<size_t>(E * H * D));
      each_row([&](int64_t e, int64_t r) {
        double* to = dweight_.data() + e * H * D;
        for (int64_t h = 0; h < H; ++h) {
          for (int64_t d = 0; d < D; ++d) *to++ += dpre(r, h) * x(r, d);
        }
      });
    }
    return dweight_;
  }
  std::vector<double> dbias() const {
    std::vector<double> values(static_cast<size_t>(E * H));
    each_row([&](int64_t e, int64_t r) {
      for (int64_t h = 0; h < H; ++h) values[static_cast<size_t>(e * H + h)] += dpre(r, h);
    });
    return values;
  }

  // The rows of all groups; those behind them are as they were.
  std::vector<T> grouped_rows(const DeviceArray<T>& array, const std::vector<T>& before) const {
    std::vector<T> values = array.values();
    const int64_t used = std::ssize(values) / capacity * rows;
    EXPECT_EQ(std::memcmp(values.data() + used, before.data() + used,
                          (values.size() - static_cast<size_t>(used)) * sizeof(T)),
              0)
        << "rows outside all groups were written";
    values.resize(static_cast<size_t>(used));
    return values;
  }

 private:
  std::vector<double> product_, dx_, dweight_;
};

// An output of `size` elements: NaN where it is overwritten, else numbers that are added to.
template <class T>
struct Output {
  std::vector<T> before;
  DeviceArray<T> device;

  Output(int64_t size, bool overwrite)
      : before(size_t(size)), device(overwrite ? DeviceArray<T>(size) : numbers(size)) {
    before = device.values();
  }
  T* data() const { return device.data(); }

  static DeviceArray<T> numbers(int64_t size) {
    std::mt19937 generator(9);
    return DeviceArray<T>(random_values<T>(size, generator));
  }
  std::vector<double> plus(std::vector<double> values, bool overwrite) const {
    for (size_t i = 0; i < values.size() && !overwrite; ++i) {
      values[i] += testing::to_float(before[i]);
    }
    return values;
  }
};

class GroupedGemmCuda : public cuda::DeviceTest {
 protected:
  cuda::Stream stream_ = nullptr;
  void SetUp() override {
    DeviceTest::SetUp();
    if (!IsSkipped()) stream_ = cuda::use(kDevice);
  }

  template <class T>
  void check_forward(Case<T>& c, ConstElements bias, bool has_bias) {
    const auto& layer = c.layer;
    const Output<T> plain(c.capacity * c.H, true), out(c.capacity * c.H, true);
    const Output<T> slope(c.capacity * c.H, true);
    cuda::grouped_forward(layer, c.x.device.data(), c.weight.device.data(), bias,
                          GroupedActivation::none, plain.data(), static_cast<T*>(nullptr), stream_);
    EXPECT_LT(relative_error(c.grouped_rows(plain.device, plain.before), c.out(has_bias, identity)),
              tolerance<T>());
    cuda::grouped_forward(layer, c.x.device.data(), c.weight.device.data(), bias,
                          GroupedActivation::gelu, out.data(), slope.data(), stream_);
    EXPECT_LT(relative_error(c.grouped_rows(out.device, out.before), c.out(has_bias, gelu)),
              tolerance<T>());
    EXPECT_LT(
        relative_error(c.grouped_rows(slope.device, slope.before), c.out(has_bias, gelu_slope)),
        tolerance<T>());
    // Without a backward pass to come.
    const Output<T> again(c.capacity * c.H, true);
    cuda::grouped_forward(layer, c.x.device.data(), c.weight.device.data(), bias,
                          GroupedActivation::gelu, again.data(), static_cast<T*>(nullptr), stream_);
    EXPECT_TRUE(c.grouped_rows(again.device, again.before) ==
                c.grouped_rows(out.device, out.before));
  }

  template <class T>
  void check_backward(Case<T>& c, bool overwrite) {
    const auto& layer = c.layer;
    const Output<T> dx(c.capacity * c.D, overwrite);
    cuda::grouped_backward_x(layer, c.dpre.device.data(), c.weight.device.data(), dx.data(),
                             overwrite, stream_);
    EXPECT_LT(relative_error(c.grouped_rows(dx.device, dx.before), dx.plus(c.dx(), overwrite)),
              tolerance<T>());
    const Output<float> dweight(c.E * c.H * c.D, overwrite), dbias(c.E * c.H, overwrite);
    cuda::grouped_backward_weight(layer, c.dpre.device.data(), c.x.device.data(), dweight.data(),
                                  overwrite, stream_);
    EXPECT_LT(relative_error(dweight.device.values(), dweight.plus(c.dweight(), overwrite)), 1e-5);
    cuda::grouped_backward_bias(layer, c.dpre.device.data(), dbias.data(), overwrite, stream_);
    EXPECT_LT(relative_error(dbias.device.values(), dbias.plus(c.dbias(), overwrite)), 1e-5);
  }

  // The slope of a layer beneath and of this one, as numbers of any origin.
  template <class T>
  void check_slopes(Case<T>& c) {
    const Matrix<T> beneath(c.capacity, c.D, c.generator), own(c.capacity, c.H, c.generator);
    const Output<T> dx(c.capacity * c.D, true), dpre(c.capacity * c.H, true);
    cuda::grouped_backward_x_gelu(c.layer, c.dpre.device.data(), c.weight.device.data(),
                                  beneath.device.data(), dx.data(), stream_);
    auto expected_dx = c.dx();
    for (size_t i = 0; i < expected_dx.size(); ++i) {
      expected_dx[i] *= testing::to_float(beneath.host[i]);
    }
    EXPECT_LT(relative_error(c.grouped_rows(dx.device, dx.before), expected_dx), tolerance<T>());

    cuda::grouped_backward_gelu(c.layer, c.dpre.device.data(), own.device.data(), dpre.data(),
                                stream_);
    std::vector<double> expected_dpre;
    for (int64_t i = 0; i < c.rows * c.H; ++i) {
      expected_dpre.push_back(c.dpre(i / c.H, i % c.H) * own(i / c.H, i % c.H));
    }
    EXPECT_LT(relative_error(c.grouped_rows(dpre.device, dpre.before), expected_dpre),
              tolerance<T>());
  }

  template <class T>
  void check(const Shape& shape, GroupedKernel kernel) {
    SCOPED_TRACE(text(shape));
    Case<T> c(shape, kernel);
    const auto bias_bfloat16s = random_values<bfloat16>(c.E * c.H, c.generator);
    check_forward(c, c.bias.device.data(), true);
    check_forward(c, {}, false);
    check_backward(c, true);
    check_backward(c, false);
    check_slopes(c);
  }
};

const Shape kLoopShapes[] = {
    {20, 12, {5, 0, 1, 17}}, {7, 13, {3, 2}},   {1, 1, {1}},
    {24, 16, {40}},          {8, 8, {0, 0, 0}}, {6, 4, repeated(257, {2, 0, 1})},
};

TEST_F(GroupedGemmCuda, FloatsExpertByExpert) {
  for (const Shape& shape : kLoopShapes) check<float>(shape, GroupedKernel::loop);
}
TEST_F(GroupedGemmCuda, Bfloat16sExpertByExpert) {
  for (const Shape& shape : kLoopShapes) check<bfloat16>(shape, GroupedKernel::loop);
}

// Tiles of both widths, whole and not; sums shorter and longer than the pipeline, and ragged.
const Shape kWgmmaShapes[] = {
    {64, 64, {130, 0, 1}},  {256, 72, {128}},
    {136, 328, {200, 60}},  {8, 16, {0, 5, 0}},
    {504, 16, {1, 0, 300}}, {16, 24, repeated(257, {0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})},
};

TEST_F(GroupedGemmCuda, Bfloat16sInOneKernel) {
  for (const Shape& shape : kWgmmaShapes) {
    if (cuda::choose_grouped_kernel(kDevice, ElementType::bf16, shape.H, shape.D) !=
        GroupedKernel::wgmma) {
      GTEST_SKIP() << "the device or the build has no wgmma";
    }
    check<bfloat16>(shape, GroupedKernel::wgmma);
  }
}

TEST_F(GroupedGemmCuda, TakesABiasOfItsOwnType) {
  for (const GroupedKernel kernel : {GroupedKernel::loop, GroupedKernel::wgmma}) {
    Case<bfloat16> c({64, 32, {100, 0, 30}}, kernel);
    if (kernel == GroupedKernel::wgmma &&
        cuda::choose_grouped_kernel(kDevice, ElementType::bf16, c.H, c.D) != kernel) {
      continue;
    }
    // Bits of the float bias that a bfloat16 cannot hold are dropped.
    std::vector<bfloat16> rounded;
    for (const float value : c.bias.host) rounded.push_back(to_bfloat16(value));
    const DeviceArray<bfloat16> bias(rounded);
    check_forward<bfloat16>(c, bias.data(), true);
  }
}

TEST_F(GroupedGemmCuda, NoRowsAtAll) {
  for (const GroupedKernel kernel : {GroupedKernel::loop, GroupedKernel::wgmma}) {
    Case<bfloat16> c({16, 24, {0, 0}}, kernel);
    c.layer.rows.capacity = 0;
    const Output<float> dweight(c.E * c.H * c.D, true), dbias(c.E * c.H, true);
    const Output<bfloat16> out(c.capacity * c.H, true);
    cuda::grouped_forward<bfloat16>(c.layer, nullptr, c.weight.device.data(), {},
                                    GroupedActivation::gelu, nullptr, nullptr, stream_);
    cuda::grouped_backward_x<bfloat16>(c.layer, nullptr, c.weight.device.data(), nullptr, true,
                                       stream_);
    cuda::grouped_backward_weight<bfloat16>(c.layer, nullptr, nullptr, dweight.data(), true,
                                            stream_);
    cuda::grouped_backward_bias<bfloat16>(c.layer, nullptr, dbias.data(), true, stream_);
    EXPECT_EQ(dweight.device.values(), std::vector<float>(static_cast<size_t>(c.E * c.H * c.D)));
    EXPECT_EQ(dbias.device.values(), std::vector<float>(static_cast<size_t>(c.E * c.H)));
  }
}

TEST_F(GroupedGemmCuda, RepeatsItsBits) {
  for (const GroupedKernel kernel : {GroupedKernel::loop, GroupedKernel::wgmma}) {
    const Case<bfloat16> c({64, 64, {300, 20}}, kernel);
    if (kernel == GroupedKernel::wgmma &&
        cuda::choose_grouped_kernel(kDevice, ElementType::bf16, c.H, c.D) != kernel) {
      continue;
    }
    std::vector<float> first;
    for (int i = 0; i < 3; ++i) {
      const Output<float> dweight(c.E * c.H * c.D, true);
      cuda::grouped_backward_weight(c.layer, c.dpre.device.data(), c.x.device.data(),
                                    dweight.data(), true, stream_);
      if (i == 0) first = dweight.device.values();
      EXPECT_TRUE(dweight.device.values() == first);
    }
  }
}

// Recorded once; then the routing changes and an expert is added, both on the device only.
TEST_F(GroupedGemmCuda, ARecordedKernelFollowsTheDevice) {
  Case<bfloat16> c({64, 32, {100, 0, 300}}, GroupedKernel::wgmma);
  if (cuda::choose_grouped_kernel(kDevice, ElementType::bf16, c.H, c.D) != GroupedKernel::wgmma) {
    GTEST_SKIP() << "the device or the build has no wgmma";
  }
  const DeviceArray<int64_t> num_experts(std::vector<int64_t>{2});
  const DeviceArray<int64_t> offsets(std::vector<int64_t>{0, 128, 128, -1});
  cuda::GroupedLayer layer = c.layer;
  layer.rows.offsets = offsets.data();
  layer.rows.device_num_experts = num_experts.data();
  const Output<bfloat16> out(c.capacity * c.H, true);
  const Output<float> dweight(c.E * c.H * c.D, true), dbias(c.E * c.H, true);
  auto graph = cuda::Graph::capture(kDevice, [&] {
    cuda::grouped_forward<bfloat16>(layer, c.x.device.data(), c.weight.device.data(),
                                    c.bias.device.data(), GroupedActivation::gelu, out.data(),
                                    nullptr, stream_);
    cuda::grouped_backward_weight(layer, c.dpre.device.data(), c.x.device.data(), dweight.data(),
                                  true, stream_);
    cuda::grouped_backward_bias(layer, c.dpre.device.data(), dbias.data(), true, stream_);
  });
  graph.replay();
  auto expected_out = c.out(true, gelu);
  auto got_out = out.device.values();
  expected_out.resize(static_cast<size_t>(128 * c.H));
  got_out.resize(expected_out.size());
  EXPECT_LT(relative_error(got_out, expected_out), 1e-2);
  EXPECT_TRUE(std::isnan(dweight.device.values().back()));
  EXPECT_TRUE(std::isnan(dbias.device.values().back()));

  cuda::copy_to_device(offsets.data(), c.offsets.data(), 4 * int64_t{sizeof(int64_t)}, kDevice);
  const int64_t three = 3;
  cuda::copy_to_device(num_experts.data(), &three, sizeof(three), kDevice);
  graph.replay();
  EXPECT_LT(relative_error(c.grouped_rows(out.device, out.before), c.out(true, gelu)), 1e-2);
  EXPECT_LT(relative_error(dweight.device.values(), c.dweight()), 1e-5);
  EXPECT_LT(relative_error(dbias.device.values(), c.dbias()), 1e-5);
}

TEST_F(GroupedGemmCuda, ChoosesByTypeAndWidths) {
  using cuda::choose_grouped_kernel;
  EXPECT_EQ(choose_grouped_kernel(kDevice, ElementType::f32, 64, 64), GroupedKernel::loop);
  EXPECT_EQ(choose_grouped_kernel(kDevice, ElementType::bf16, 64, 60), GroupedKernel::loop);
  EXPECT_EQ(choose_grouped_kernel(kDevice, ElementType::bf16, 4, 64), GroupedKernel::loop);
}

template <class T>
std::string complaint(const Case<T>& c, const T* x) {
  try {
    const DeviceArray<T> out(c.capacity * c.H);
    cuda::grouped_forward<T>(c.layer, x, c.weight.device.data(), {}, GroupedActivation::none,
                             out.data(), nullptr, cuda::use(kDevice));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(GroupedGemmCuda, RefusesWhatItCannotDo) {
  const Case<float> floats({8, 8, {4}}, GroupedKernel::wgmma);
  EXPECT_EQ(complaint(floats, floats.x.device.data()),
            "[grouped_gemm] wgmma: got float32, H 8 and D 8, expected bfloat16 and multiples of 8");
  Case<float> lacking({8, 8, {4}}, GroupedKernel::loop);
  lacking.layer.rows.host_offsets = nullptr;
  EXPECT_EQ(complaint(lacking, lacking.x.device.data()),
            "[grouped_gemm] host_offsets: got null, expected the offsets for products expert by "
            "expert");
  Case<float> beyond({8, 8, {4, 9}}, GroupedKernel::loop);
  beyond.layer.rows.capacity = 12;
  EXPECT_EQ(complaint(beyond, beyond.x.device.data()),
            "[grouped_gemm] host_offsets: got rows 4 to 13 for expert 1, expected a range within "
            "12");
}

}  // namespace
}  // namespace offshoot
