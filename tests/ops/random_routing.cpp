#include "tests/ops/random_routing.h"

#include <algorithm>
#include <cmath>

#include "engine/tape.h"

namespace offshoot::testing {
namespace {

constexpr double kMargin = 0.1;  // over the square of the number of experts

bool is_clear(std::vector<double> row, double p) {
  std::ranges::sort(row, std::greater());
  const double margin = kMargin / static_cast<double>(row.size() * row.size());
  double mass = 0;
  for (size_t j = 0; j < row.size(); ++j) {
    if (j > 0 && row[j - 1] - row[j] < margin) return false;
    mass += row[j];
    if (p < 1 && std::abs(mass - p) < margin) return false;
  }
  return true;
}

// Scores of which no two are close, in random order, so that any number of experts is clear.
std::vector<double> draw_row(int64_t experts, Random& random) {
  std::vector<double> row(static_cast<size_t>(experts));
  double sum = 0;
  for (size_t e = 0; e < row.size(); ++e) {
    row[e] = static_cast<double>(e) + 0.5 + 0.4 * random.uniform();
    sum += row[e];
  }
  for (size_t e = row.size(); e > 1; --e) {
    std::swap(row[e - 1], row[static_cast<size_t>(random.below(static_cast<int64_t>(e)))]);
  }
  for (double& score : row) score /= sum;
  return row;
}

}  // namespace

RouteOptions top_k(int64_t k, CombineWeights weights) {
  return {.kind = RouteOptions::Kind::top_k, .k = k, .weights = weights};
}

RouteOptions top_p(double p, CombineWeights weights) {
  return {.kind = RouteOptions::Kind::top_p, .p = p, .weights = weights};
}

void fill_probabilities(const Tensor& probs, Random& random, double p) {
  const int64_t N = probs.dim(0), E = probs.dim(1);
  dispatch_float("fill_probabilities", probs.dtype(), [&]<class T>(T) {
    for (int64_t n = 0; n < N; ++n) {
      std::vector<double> row;
      do {
        row = draw_row(E, random);
      } while (!is_clear(row, p));
      // Numbers of both dtypes, so that a run in f32 starts from the same.
      std::ranges::transform(row, probs.data<T>() + n * E,
                             [](double score) { return static_cast<float>(score); });
    }
  });
}

Tensor random_probabilities(const Shape& shape, DType dtype, uint64_t seed, double p) {
  Random random(seed, stream_of("random_probabilities"));
  Tensor probs(shape, dtype);
  fill_probabilities(probs, random, p);
  return probs;
}

Tensor dense_weights(Tape& tape, const Routing& routing) {
  const int64_t N = routing.tokens(), E = routing.experts();
  const Tensor out = Tensor::zeros({N, E}, routing.weights.dtype());
  // Calls visit(pair, index in the matrix).
  const auto each = [routing, N, E](auto visit) {
    const int64_t* offsets = routing.token_offsets.data<int64_t>();
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t pair = offsets[n]; pair < offsets[n + 1]; ++pair) {
        visit(pair, n * E + routing.expert_of_pair.data<int32_t>()[pair]);
      }
    }
  };
  dispatch_float("dense_weights", out.dtype(), [&]<class T>(T) {
    each([&](int64_t pair, int64_t i) { out.data<T>()[i] = routing.weights.data<T>()[pair]; });
  });
  tape.record("dense_weights", {routing.weights}, out,
              [routing, each](Tape& walk, const Tensor& dout) {
                dispatch_float("dense_weights", dout.dtype(), [&]<class T>(T) {
                  const GradSlot slot = walk.slot(routing.weights);
                  each([&](int64_t pair, int64_t i) {
                    accumulate(slot.grad.data<T>()[pair], dout.data<T>()[i], slot.overwrite);
                  });
                });
              });
  return out;
}

}  // namespace offshoot::testing
