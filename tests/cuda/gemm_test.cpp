// Products against plain loops in double: by the library, behind it and without it.
#include "cuda/gemm.h"

#include <string>
#include <vector>

#include "cuda/error.h"
#include "cuda/gemm_simt.h"
#include "tests/cuda/device_array.h"

namespace offshoot {
namespace {

using cuda::Gemm;
using cuda::GemmEpilogue;
using cuda::kDevice;
using testing::DeviceArray;
using testing::doubles;
using testing::random_values;
using testing::relative_error;
using testing::tolerance;

class GemmCuda : public cuda::DeviceTest {};

struct Shape {
  int64_t M, N, K;
  bool transpose_a = false, transpose_b = false;
  int64_t pad = 0;  // elements between rows
  int64_t batch = 1;
  bool share_b = false;
};

std::string text(const Shape& s) {
  return std::to_string(s.M) + "x" + std::to_string(s.N) + "x" + std::to_string(s.K) +
         (s.transpose_a ? " ta" : "") + (s.transpose_b ? " tb" : "") + " pad " +
         std::to_string(s.pad) + " batch " + std::to_string(s.batch);
}

const Shape kShapes[] = {
    {1, 1, 1},
    {64, 64, 64},
    {50, 13, 7},
    {50, 13, 7, true, false},
    {50, 13, 7, false, true},
    {50, 13, 7, true, true},
    {1, 130, 65, false, true},
    {129, 1, 33, true, false, 3},
    {72, 88, 96, false, true, 8},
    {67, 71, 200, true, false, 1},
    {31, 24, 17, false, false, 2, 3},
    {16, 40, 24, false, true, 0, 5, true},
    {40, 50, 0},
    {40, 0, 50},
    {0, 40, 50},
    {4, 4, 4, false, false, 0, 0},
};

// One product's operands, on the host and on the device.
template <class T, class C>
struct Case {
  Shape shape;
  std::mt19937 generator{7};
  std::vector<T> a, b;
  std::vector<C> c;
  std::vector<float> bias;
  DeviceArray<T> device_a, device_b;
  DeviceArray<C> device_c;
  DeviceArray<float> device_bias;
  Gemm gemm;

  Case(const Shape& s, bool overwrite)
      : shape(s),
        a(random_values<T>(rows_a() * lda() * s.batch, generator)),
        b(random_values<T>(rows_b() * ldb() * (s.share_b ? 1 : s.batch), generator)),
        c(random_values<C>(s.M * ldc() * s.batch, generator)),
        bias(random_values<float>(s.N, generator)),
        device_a(a),
        device_b(b),
        device_c(c),
        device_bias(bias) {
    if (overwrite) poison_c();
    gemm = {.M = s.M,
            .N = s.N,
            .K = s.K,
            .a = device_a.data(),
            .b = device_b.data(),
            .transpose_a = s.transpose_a,
            .transpose_b = s.transpose_b,
            .c = device_c.data(),
            .overwrite = overwrite,
            .lda = lda(),
            .ldb = ldb(),
            .ldc = ldc(),
            .batch = s.batch,
            .stride_a = rows_a() * lda(),
            .stride_b = s.share_b ? 0 : rows_b() * ldb(),
            .stride_c = s.M * ldc()};
  }

  int64_t rows_a() const { return shape.transpose_a ? shape.K : shape.M; }
  int64_t rows_b() const { return shape.transpose_b ? shape.N : shape.K; }
  int64_t lda() const { return (shape.transpose_a ? shape.M : shape.K) + shape.pad; }
  int64_t ldb() const { return (shape.transpose_b ? shape.K : shape.N) + shape.pad; }
  int64_t ldc() const { return shape.N + shape.pad; }

  // What is overwritten is NaN; what lies between the rows is kept.
  void poison_c() {
    if (c.empty()) return;
    auto poisoned = c;
    for (int64_t row = 0; row < shape.M * shape.batch; ++row) {
      std::memset(poisoned.data() + row * ldc(), 0xff, static_cast<size_t>(shape.N) * sizeof(C));
    }
    cuda::copy_to_device(device_c.data(), poisoned.data(), std::ssize(c) * int64_t{sizeof(C)},
                         kDevice);
  }

  double op_a(int64_t batch, int64_t m, int64_t k) const {
    const int64_t i = shape.transpose_a ? k * lda() + m : m * lda() + k;
    return testing::to_float(a[static_cast<size_t>(batch * gemm.stride_a + i)]);
  }
  double op_b(int64_t batch, int64_t k, int64_t n) const {
    const int64_t i = shape.transpose_b ? n * ldb() + k : k * ldb() + n;
    return testing::to_float(b[static_cast<size_t>(batch * gemm.stride_b + i)]);
  }
  double product(int64_t batch, int64_t m, int64_t n) const {
    double sum = 0;
    for (int64_t k = 0; k < shape.K; ++k) sum += op_a(batch, m, k) * op_b(batch, k, n);
    return sum;
  }

  // c with f(batch, m, n, product) in place of, or added to, its elements.
  template <class F>
  std::vector<double> expected(F f) const {
    auto out = doubles(c);
    for (int64_t batch = 0; batch < shape.batch; ++batch) {
      for (int64_t m = 0; m < shape.M; ++m) {
        for (int64_t n = 0; n < shape.N; ++n) {
          const auto i = static_cast<size_t>(batch * gemm.stride_c + m * ldc() + n);
          out[i] = (gemm.overwrite ? 0 : out[i]) + f(batch, m, n, product(batch, m, n));
        }
      }
    }
    return out;
  }
  std::vector<double> expected() const {
    return expected([](int64_t, int64_t, int64_t, double sum) { return sum; });
  }

  void run() const { cuda::gemm(gemm, kDevice, cuda::use(kDevice)); }
};

template <class T, class C>
void check_products(bool simt) {
  for (const Shape& shape : kShapes) {
    for (const bool overwrite : {true, false}) {
      SCOPED_TRACE(text(shape) + (overwrite ? " overwrite" : " add"));
      const Case<T, C> product(shape, overwrite);
      if (simt) {
        cuda::simt_gemm(product.gemm, cuda::use(kDevice));
      } else {
        product.run();
      }
      EXPECT_LT(relative_error(product.device_c.values(), product.expected()), tolerance<C>());
    }
  }
}

TEST_F(GemmCuda, Floats) { check_products<float, float>(false); }
TEST_F(GemmCuda, Bfloat16s) { check_products<bfloat16, bfloat16>(false); }
TEST_F(GemmCuda, Bfloat16sIntoFloats) { check_products<bfloat16, float>(false); }
TEST_F(GemmCuda, OnOwnKernels) {
  check_products<float, float>(true);
  check_products<bfloat16, bfloat16>(true);
  check_products<bfloat16, float>(true);
}

// The type of c, or rounded to it, or wider than it; and at an address that no vector load takes.
template <class T, class C, class B>
void check_bias(int64_t offset) {
  for (const Shape& shape : kShapes) {
    for (const bool overwrite : {true, false}) {
      SCOPED_TRACE(text(shape));
      Case<T, C> product(shape, overwrite);
      const auto bias = random_values<B>(shape.N + offset, product.generator);
      const DeviceArray<B> device_bias(bias);
      product.gemm.epilogue = GemmEpilogue::bias;
      product.gemm.bias = device_bias.data() + offset;
      product.run();
      const auto expected = product.expected([&](int64_t, int64_t, int64_t n, double sum) {
        return sum + testing::to_float(bias[static_cast<size_t>(n + offset)]);
      });
      EXPECT_LT(relative_error(product.device_c.values(), expected), tolerance<C>());
    }
  }
}

TEST_F(GemmCuda, AddsABias) {
  check_bias<float, float, float>(0);
  check_bias<float, float, bfloat16>(0);
  check_bias<bfloat16, bfloat16, bfloat16>(1);
  check_bias<bfloat16, bfloat16, float>(0);
  check_bias<bfloat16, float, float>(3);
}

double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double gelu_tanh_derivative(double x) { return (gelu_tanh(x + 1e-5) - gelu_tanh(x - 1e-5)) / 2e-5; }

const Shape kGeluShapes[] = {
    {24, 16, 40, false, true}, {50, 13, 7}, {33, 64, 24, false, false, 8}, {7, 8, 0}, {0, 8, 8}};

TEST_F(GemmCuda, AppliesGeluAndKeepsItsInput) {
  for (const Shape& shape : kGeluShapes) {
    SCOPED_TRACE(text(shape));
    Case<bfloat16, bfloat16> product(shape, true);
    const DeviceArray<bfloat16> aux(shape.M * product.ldc());
    product.gemm.epilogue = GemmEpilogue::bias_gelu;
    product.gemm.bias = product.device_bias.data();
    product.gemm.aux = aux.data();
    product.gemm.ld_aux = product.ldc();
    product.run();
    const auto bias = product.bias;
    const auto pre = [&](int64_t, int64_t, int64_t n, double sum) {
      return sum + bias[static_cast<size_t>(n)];
    };
    const auto out = [&](int64_t, int64_t, int64_t n, double sum) {
      return gelu_tanh(sum + bias[static_cast<size_t>(n)]);
    };
    EXPECT_LT(relative_error(product.device_c.values(), product.expected(out)), 1e-2);
    auto expected = product.expected(pre);
    auto got = aux.values();
    for (int64_t i = 0; i < std::ssize(got); ++i) {  // nothing between the rows is written
      if (i % product.ldc() < shape.N) continue;
      EXPECT_EQ(got[static_cast<size_t>(i)].bits, 0xffff);
      got[static_cast<size_t>(i)] = {0};
      expected[static_cast<size_t>(i)] = 0;
    }
    EXPECT_LT(relative_error(got, expected), 1e-2);
  }
}

// dbias rounded to the type of c, and not.
template <class B>
void check_gelu_backward(bool overwrite_dbias) {
  for (const Shape& shape : kGeluShapes) {
    SCOPED_TRACE(text(shape));
    Case<bfloat16, bfloat16> product(shape, true);
    const auto pre = random_values<bfloat16>(shape.M * product.ldc(), product.generator);
    const auto before = random_values<B>(shape.N, product.generator);
    const DeviceArray<bfloat16> aux(pre);
    const DeviceArray<B> dbias = overwrite_dbias ? DeviceArray<B>(shape.N) : DeviceArray<B>(before);
    product.gemm.epilogue = GemmEpilogue::dgelu_bias_gradient;
    product.gemm.aux = aux.data();
    product.gemm.ld_aux = product.ldc();
    product.gemm.dbias = dbias.data();
    product.gemm.overwrite_dbias = overwrite_dbias;
    product.run();
    auto sums = doubles(before);
    if (overwrite_dbias) std::ranges::fill(sums, 0.0);
    const auto expected = product.expected([&](int64_t, int64_t m, int64_t n, double sum) {
      const auto i = static_cast<size_t>(m * product.ldc() + n);
      const double value = sum * gelu_tanh_derivative(to_float(pre[i]));
      sums[static_cast<size_t>(n)] += value;
      return value;
    });
    EXPECT_LT(relative_error(product.device_c.values(), expected), 1e-2);
    EXPECT_LT(relative_error(dbias.values(), sums), 1e-2);

    product.poison_c();
    product.gemm.epilogue = GemmEpilogue::dgelu;
    product.run();
    EXPECT_LT(relative_error(product.device_c.values(), expected), 1e-2);
  }
}

TEST_F(GemmCuda, MultipliesByTheSlopeOfGelu) {
  for (const bool overwrite : {true, false}) {
    check_gelu_backward<float>(overwrite);
    check_gelu_backward<bfloat16>(overwrite);
  }
}

template <class T, class C>
void check_bias_gradient() {
  for (const Shape& shape : kShapes) {
    if (shape.batch != 1) continue;
    for (const bool overwrite : {true, false}) {
      SCOPED_TRACE(text(shape));
      Case<T, C> product(shape, overwrite);
      const auto before = random_values<float>(shape.M, product.generator);
      const DeviceArray<float> dbias =
          overwrite ? DeviceArray<float>(shape.M) : DeviceArray<float>(before);
      product.gemm.epilogue = GemmEpilogue::bias_gradient;
      product.gemm.dbias = dbias.data();
      product.gemm.overwrite_dbias = overwrite;
      product.run();
      auto sums = doubles(before);
      for (int64_t m = 0; m < shape.M; ++m) {
        double& sum = sums[static_cast<size_t>(m)];
        if (overwrite) sum = 0;
        for (int64_t k = 0; k < shape.K; ++k) sum += product.op_a(0, m, k);
      }
      EXPECT_LT(relative_error(product.device_c.values(), product.expected()), tolerance<C>());
      EXPECT_LT(relative_error(dbias.values(), sums), 1e-5);
    }
  }
}

TEST_F(GemmCuda, SumsTheGradientOfABias) {
  check_bias_gradient<float, float>();
  check_bias_gradient<bfloat16, float>();
  check_bias_gradient<bfloat16, bfloat16>();
}

// Row counts that share an algorithm with others, or do not.
TEST_F(GemmCuda, TakesEveryRowCount) {
  for (int64_t rows = 1; rows < 40; ++rows) {
    SCOPED_TRACE(rows);
    const Case<bfloat16, bfloat16> forward({rows, 16, 8, false, true}, true);
    forward.run();
    EXPECT_LT(relative_error(forward.device_c.values(), forward.expected()), 1e-2);
    const Case<bfloat16, float> weights({16, 8, rows, true, false}, true);
    weights.run();
    EXPECT_LT(relative_error(weights.device_c.values(), weights.expected()), 1e-5);
  }
}

TEST_F(GemmCuda, RepeatsItsBits) {
  const Case<bfloat16, float> product({48, 40, 1111, true, false}, true);
  product.run();
  const auto first = product.device_c.values();
  for (int i = 0; i < 5; ++i) {
    product.run();
    EXPECT_EQ(product.device_c.values(), first);
  }
}

std::string complaint(const Gemm& gemm) {
  try {
    cuda::gemm(gemm, kDevice, cuda::use(kDevice));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(GemmCuda, RefusesContradictions) {
  const Case<float, float> floats({4, 4, 4}, true);
  Gemm gemm = floats.gemm;
  gemm.ldb = 3;
  EXPECT_EQ(complaint(gemm), "[gemm] ldb: got 3, expected at least 4");
  gemm = floats.gemm;
  gemm.K = -1;
  EXPECT_EQ(complaint(gemm), "[gemm] K: got -1, expected at least 0");
  gemm = floats.gemm;
  gemm.b.type = cuda::ElementType::bf16;
  EXPECT_EQ(complaint(gemm), "[gemm] b beside a: got bfloat16, expected float32");
  gemm = floats.gemm;
  gemm.epilogue = GemmEpilogue::bias;
  EXPECT_EQ(complaint(gemm), "[gemm] bias: got null, expected memory");
  gemm = floats.gemm;
  gemm.batch = 2;
  gemm.stride_c = 15;
  EXPECT_EQ(complaint(gemm), "[gemm] stride_c: got 15, expected at least 16");
  gemm = floats.gemm;
  gemm.epilogue = GemmEpilogue::dgelu;
  EXPECT_EQ(complaint(gemm), "[gemm] c of a product with GELU: got float32, expected bfloat16");
}

}  // namespace
}  // namespace offshoot
