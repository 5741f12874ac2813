#include "ops/expert_stats.h"

#include <cmath>
#include <limits>

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
  check_dtype(op, what, tensor, like.dtype());
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

}  // namespace

std::vector<double> expert_norms(std::span<const Tensor> tensors) {
  constexpr std::string_view kName = "expert_norms";
  if (tensors.empty()) fail(kName, "got no tensor, expected at least one");
  for (const Tensor& tensor : tensors) {
    check_experts(kName, "tensor", tensor);
    if (tensor.dim(0) != tensors[0].dim(0)) {
      fail(kName, "tensor: got {} experts, expected {}", tensor.dim(0), tensors[0].dim(0));
    }
  }
  std::vector<double> norms(static_cast<size_t>(tensors[0].dim(0)), 0.0);
  for (const Tensor& tensor : tensors) {
    dispatch_float(kName, tensor.dtype(), [&]<class T>(T) { add_squares<T>(tensor, norms); });
  }
  for (double& norm : norms) norm = std::sqrt(norm);
  check_finite(kName, norms);
  return norms;
}

std::vector<double> expert_cosines(const Tensor& a, const Tensor& b) {
  constexpr std::string_view kName = "expert_cosines";
  check_experts(kName, "a", a);
  check_same(kName, "b", b, a);
  const int64_t E = a.dim(0), count = a.size() / E;
  std::vector<double> cosines(static_cast<size_t>(E));
  std::vector<char> directed(static_cast<size_t>(E));
  dispatch_float(kName, a.dtype(), [&]<class T>(T) {
    const T* a_all = a.data<T>();
    const T* b_all = b.data<T>();
    parallel_for(E, expert_grain(3 * count), [&](int64_t first, int64_t last) {
      for (int64_t e = first; e < last; ++e) {
        const T *a_e = a_all + e * count, *b_e = b_all + e * count;
        const double a_norm = std::sqrt(product(a_e, a_e, count));
        const double b_norm = std::sqrt(product(b_e, b_e, count));
        const bool has_cosine = a_norm != 0 && b_norm != 0;
        directed[static_cast<size_t>(e)] = has_cosine;
        // Divided one by one: the norms' product can overflow. Else 0, or NaN where a norm is not
        // finite.
        cosines[static_cast<size_t>(e)] =
            has_cosine ? product(a_e, b_e, count) / a_norm / b_norm : 0 * (a_norm + b_norm);
      }
    });
  });
  check_finite(kName, cosines);
  for (size_t e = 0; e < cosines.size(); ++e) {
    if (!directed[e]) cosines[e] = std::numeric_limits<double>::quiet_NaN();
  }
  return cosines;
}

Tensor project_rows(const Tensor& g, const Tensor& w) {
  constexpr std::string_view kName = "project_rows";
  check_float(kName, "g", g);
  check_rows(kName, "g", g);
  check_same(kName, "w", w, g);
  const int64_t D = g.last_dim();
  const Tensor out(g.shape(), g.dtype());
  dispatch_float(kName, g.dtype(), [&]<class T>(T) {
    parallel_for(row_count(g), row_grain(3 * D), [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) {
        const T* w_row = w.data<T>() + row * D;
        const double along = product(g.data<T>() + row * D, w_row, D);
        const double share = along / (product(w_row, w_row, D) + 1e-12);
        if (!std::isfinite(share)) fail(kName, "row {}: got {}", row, share);
        for (int64_t d = 0; d < D; ++d) {
          out.data<T>()[row * D + d] = static_cast<T>(share * double{w_row[d]});
        }
      }
    });
  });
  return out;
}

}  // namespace offshoot
