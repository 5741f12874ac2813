#include "ops/expert_stats.h"

#include <array>
#include <cmath>
#include <limits>

#include "engine/parallel.h"
#include "ops/op.h"

namespace offshoot {
namespace {

// Eight partial sums, so that the loop vectorises without reordering a single chain.
template <class T>
double dot(const T* a, const T* b, int64_t count) {
  constexpr int64_t kLanes = 8;
  std::array<double, kLanes> sums{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      sums[static_cast<size_t>(lane)] += static_cast<double>(a[i + lane]) * b[i + lane];
    }
  }
  double sum = 0;
  for (; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  for (const double part : sums) sum += part;
  return sum;
}

void check_experts(std::string_view op, std::string_view what, const Tensor& tensor) {
  check_float(op, what, tensor);
  if (tensor.rank() < 1) fail(op, "{}: got a scalar, expected one row an expert", what);
}

int64_t row_size(const Tensor& tensor) { return tensor.shape().with(0, 1).size(); }

// Experts whose rows make a range worth a thread.
int64_t expert_grain(int64_t size) { return row_grain(size); }

}  // namespace

std::vector<double> expert_norms(std::span<const Tensor> gradients) {
  constexpr std::string_view kName = "expert_norms";
  if (gradients.empty()) fail(kName, "gradients: got none, expected at least one");
  for (const Tensor& g : gradients) {
    check_experts(kName, "gradient", g);
    if (g.dim(0) != gradients[0].dim(0)) {
      fail(kName, "gradient: got {} experts, expected {}", g.dim(0), gradients[0].dim(0));
    }
  }
  std::vector<double> norms(static_cast<size_t>(gradients[0].dim(0)), 0.0);
  for (const Tensor& g : gradients) {
    const int64_t size = row_size(g);
    dispatch_float(kName, g.dtype(), [&]<class T>(T) {
      const T* const data = g.data<T>();
      parallel_for(g.dim(0), expert_grain(size), [&](int64_t first, int64_t last) {
        for (int64_t e = first; e < last; ++e) {
          norms[static_cast<size_t>(e)] += dot(data + e * size, data + e * size, size);
        }
      });
    });
  }
  for (double& norm : norms) norm = std::sqrt(norm);
  return norms;
}

std::vector<double> expert_cosines(const Tensor& a, const Tensor& b) {
  constexpr std::string_view kName = "expert_cosines";
  check_experts(kName, "a", a);
  check_shape(kName, "b", b, a.shape());
  check_dtype(kName, "b", b, a.dtype());
  std::vector<double> cosines(static_cast<size_t>(a.dim(0)));
  const int64_t size = row_size(a);
  dispatch_float(kName, a.dtype(), [&]<class T>(T) {
    parallel_for(a.dim(0), expert_grain(size), [&](int64_t first, int64_t last) {
      for (int64_t e = first; e < last; ++e) {
        const T *const x = a.data<T>() + e * size, *const y = b.data<T>() + e * size;
        const double norms = std::sqrt(dot(x, x, size)) * std::sqrt(dot(y, y, size));
        const double none = std::numeric_limits<double>::quiet_NaN();
        cosines[static_cast<size_t>(e)] = norms == 0 ? none : dot(x, y, size) / norms;
      }
    });
  });
  return cosines;
}

Tensor project_rows(const Tensor& g, const Tensor& w) {
  constexpr std::string_view kName = "project_rows";
  check_float(kName, "g", g);
  check_rows(kName, "g", g);
  check_shape(kName, "w", w, g.shape());
  check_dtype(kName, "w", w, g.dtype());
  const Tensor out(g.shape(), g.dtype());
  const int64_t D = g.last_dim();
  dispatch_float(kName, g.dtype(), [&]<class T>(T) {
    for (int64_t row = 0; row < row_count(g); ++row) {
      const T *const from = g.data<T>() + row * D, *const along = w.data<T>() + row * D;
      const double share = dot(from, along, D) / (dot(along, along, D) + 1e-12);
      for (int64_t d = 0; d < D; ++d) {
        out.data<T>()[row * D + d] = static_cast<T>(share) * along[d];
      }
    }
  });
  return out;
}

}  // namespace offshoot
