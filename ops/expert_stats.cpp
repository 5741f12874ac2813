#include "ops/expert_stats.h"

#include <cmath>
#include <limits>

#include "cuda/expert_stats.h"
#include "engine/parallel.h"
#include "ops/op.h"
#include "ops/reduce_kernels.h"

namespace offshoot {
namespace {

// Elements that one sum of partial sums covers, and the least that is worth a thread.
constexpr int64_t kBlock = 8192;

// sum over value(i), i in [0, count), block by block.
template <class Value>
double blocked_sum(int64_t count, Value value) {
  double sum = 0;
  for (int64_t first = 0; first < count; first += kBlock) {
    sum += sum_of<double>(std::min(kBlock, count - first),
                          [value, first](int64_t i) { return value(first + i); });
  }
  return sum;
}

template <class T>
double product(const T* a, const T* b, int64_t count) {
  return blocked_sum(count, [a, b](int64_t i) { return double{a[i]} * double{b[i]}; });
}

// Experts that make up a range worth a thread, each of `elements` elements.
int64_t expert_grain(int64_t elements) {
  return std::max<int64_t>(1, 2 * kBlock / std::max<int64_t>(1, elements));
}

void check_experts(std::string_view op, std::string_view what, const Tensor& tensor) {
  check_float(op, what, tensor);
  if (tensor.rank() < 1 || tensor.dim(0) < 1) {
    fail(op, "{}: got shape {}, expected [E, ...] with E >= 1", what, to_string(tensor.shape()));
  }
}

void check_finite(std::string_view op, const std::vector<double>& values) {
  for (size_t e = 0; e < values.size(); ++e) {
    if (!std::isfinite(values[e])) fail(op, "expert {}: got {}", e, values[e]);
  }
}

void check_same(std::string_view op, std::string_view what, const Tensor& tensor,
                const Tensor& like) {
  check_like(op, what, tensor, like);
  check_shape(op, what, tensor, like.shape());
}

template <class T>
void add_squares(const Tensor& tensor, std::vector<double>& sums) {
  const int64_t count = tensor.size() / tensor.dim(0);
  const T* values = tensor.data<T>();
  parallel_for(tensor.dim(0), expert_grain(count), [&, values, count](int64_t first, int64_t last) {
    for (int64_t e = first; e < last; ++e) {
      sums[static_cast<size_t>(e)] += product(values + e * count, values + e * count, count);
    }
  });
}

// Each expert's squares, read back from the device of the tensors.
template <class Tensors>
std::vector<double> squares_cuda(const Tensors& tensors) {
  const int64_t E = tensors[0].dim(0);
  std::vector<cuda::ExpertArray> arrays;
  for (const Tensor& tensor : tensors) {
    dispatch_cuda("expert_norms", tensor.dtype(), [&]<class T>(T) {
      arrays.push_back({tensor.device_data<T>(), tensor.size() / E});
    });
  }
  const Device device = tensors[0].device();
  const Tensor blocks({cuda::expert_squares_scratch(arrays, E)}, DType::f64, device);
  const Tensor sums({E}, DType::f64, device);
  cuda::expert_squares(arrays, E, blocks.device_data<double>(), sums.device_data<double>(),
                       stream_of(sums));
  const Tensor read = sums.to(Device{});
  return {read.elements<double>().begin(), read.elements<double>().end()};
}

// Of one expert.
struct Products {
  double aa, bb, ab;
};

template <class T>
std::vector<Products> products_cuda(const Tensor& a, const Tensor& b) {
  const int64_t E = a.dim(0), size = a.size() / E;
  const Tensor blocks({cuda::expert_products_scratch(E, size)}, DType::f64, a.device());
  const Tensor sums({E, 3}, DType::f64, a.device());
  cuda::expert_products(a.device_data<T>(), b.device_data<T>(), E, size,
                        blocks.device_data<double>(), sums.device_data<double>(), stream_of(a));
  const Tensor read = sums.to(Device{});
  std::vector<Products> products;
  for (const double* p = read.data<double>(); p < read.data<double>() + 3 * E; p += 3) {
    products.push_back({p[0], p[1], p[2]});
  }
  return products;
}

template <class T>
std::vector<Products> products_cpu(const Tensor& a, const Tensor& b) {
  const int64_t E = a.dim(0), count = a.size() / E;
  const T *const a_all = a.data<T>(), *const b_all = b.data<T>();
  std::vector<Products> products(static_cast<size_t>(E));
  parallel_for(E, expert_grain(3 * count), [&](int64_t first, int64_t last) {
    for (int64_t e = first; e < last; ++e) {
      const T *a_e = a_all + e * count, *b_e = b_all + e * count;
      products[static_cast<size_t>(e)] = {product(a_e, a_e, count), product(b_e, b_e, count),
                                          product(a_e, b_e, count)};
    }
  });
  return products;
}

template <class T>
void project_cpu(const Tensor& g, const Tensor& w, const Tensor& out) {
  const int64_t D = g.last_dim();
  parallel_for(row_count(g), row_grain(3 * D), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const T* w_row = w.data<T>() + row * D;
      const double along = product(g.data<T>() + row * D, w_row, D);
      const double share = along / (product(w_row, w_row, D) + 1e-12);
      if (!std::isfinite(share)) fail("project_rows", "row {}: got {}", row, share);
      for (int64_t d = 0; d < D; ++d) {
        out.data<T>()[row * D + d] = static_cast<T>(share * double{w_row[d]});
      }
    }
  });
}

template <class T>
void project_cuda(const Tensor& g, const Tensor& w, const Tensor& out) {
  cuda::project_rows(g.device_data<T>(), w.device_data<T>(), row_count(g), g.last_dim(),
                     out.device_data<T>(), stream_of(g));
}

}  // namespace

std::vector<double> expert_norms(std::span<const Tensor> tensors) {
  constexpr std::string_view kName = "expert_norms";
  if (tensors.empty()) fail(kName, "got no tensor, expected at least one");
  for (const Tensor& tensor : tensors) {
    check_experts(kName, "tensor", tensor);
    if (tensor.dim(0) != tensors[0].dim(0)) {
      fail(kName, "tensor: got {} experts, expected {}", tensor.dim(0), tensors[0].dim(0));
    }
    check_device(kName, "tensor", tensor, tensors[0].device());
  }
  std::vector<double> norms(static_cast<size_t>(tensors[0].dim(0)), 0.0);
  if (tensors[0].device().is_cuda()) {
    if constexpr (kHasCuda) norms = squares_cuda(tensors);
  } else {
    for (const Tensor& tensor : tensors) {
      dispatch_float(kName, tensor.dtype(), [&]<class T>(T) { add_squares<T>(tensor, norms); });
    }
  }
  for (double& norm : norms) norm = std::sqrt(norm);
  check_finite(kName, norms);
  return norms;
}

std::vector<double> expert_cosines(const Tensor& a, const Tensor& b) {
  constexpr std::string_view kName = "expert_cosines";
  check_experts(kName, "a", a);
  check_same(kName, "b", b, a);
  std::vector<Products> products;
  dispatch(
      kName, a, [&]<class T>(T) { products = products_cpu<T>(a, b); },
      [&]<class T>(T) { products = products_cuda<T>(a, b); });
  const auto has_cosine = [](const Products& p) { return p.aa != 0 && p.bb != 0; };
  std::vector<double> cosines;
  for (const Products& p : products) {
    const double a_norm = std::sqrt(p.aa), b_norm = std::sqrt(p.bb);
    // Divided one by one: the norms' product can overflow. Else 0, or NaN where a norm is not
    // finite.
    cosines.push_back(has_cosine(p) ? p.ab / a_norm / b_norm : 0 * (a_norm + b_norm));
  }
  check_finite(kName, cosines);
  for (size_t e = 0; e < cosines.size(); ++e) {
    if (!has_cosine(products[e])) cosines[e] = std::numeric_limits<double>::quiet_NaN();
  }
  return cosines;
}

Tensor project_rows(const Tensor& g, const Tensor& w) {
  constexpr std::string_view kName = "project_rows";
  check_float(kName, "g", g);
  check_rows(kName, "g", g);
  check_same(kName, "w", w, g);
  const Tensor out(g.shape(), g.dtype(), g.device());
  dispatch(
      kName, g, [&]<class T>(T) { project_cpu<T>(g, w, out); },
      [&]<class T>(T) { project_cuda<T>(g, w, out); });
  return out;
}

}  // namespace offshoot
