#include "tests/support/moe_reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

namespace offshoot::testing {
namespace {

using Row = std::vector<double>;

double& at(const Tensor& t, int64_t i, int64_t j) { return t.data<double>()[i * t.dim(1) + j]; }
double& at(const Tensor& t, int64_t i, int64_t j, int64_t k) {
  return t.data<double>()[(i * t.dim(1) + j) * t.dim(2) + k];
}

double normal_distribution(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double gelu(double x) { return x * normal_distribution(x); }
double gelu_derivative(double x) {
  return normal_distribution(x) + x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}

// One token's way through the layer.
struct Token {
  Row r;                      // [E]
  std::vector<int64_t> kept;  // by falling probability
  Row g;                      // of the kept
  double kept_sum = 0;
};

Token choose(const MoeTensors& in, int64_t n, const RouteOptions& options) {
  const int64_t E = in.gate.dim(0), D = in.gate.dim(1);
  Token token;
  for (int64_t e = 0; e < E; ++e) {
    double logit = 0;
    for (int64_t d = 0; d < D; ++d) logit += at(in.gate, e, d) * at(in.x, n, d);
    token.r.push_back(logit);
  }
  const double largest = *std::ranges::max_element(token.r);
  for (double& r : token.r) r = std::exp(r - largest);
  const double sum = std::accumulate(token.r.begin(), token.r.end(), 0.0);
  for (double& r : token.r) r /= sum;
  std::vector<int64_t> order(static_cast<size_t>(E));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) {
    return token.r[static_cast<size_t>(a)] > token.r[static_cast<size_t>(b)];
  });
  const bool top_k = options.kind == RouteOptions::Kind::top_k;
  for (const int64_t e : order) {
    const bool keep =
        top_k ? std::ssize(token.kept) < options.k : token.kept_sum < options.p || options.p == 1;
    if (!keep) break;
    token.kept.push_back(e);
    token.g.push_back(token.r[static_cast<size_t>(e)]);
    token.kept_sum += token.g.back();
  }
  return token;
}

bool renormalises(const RouteOptions& options, const std::vector<Token>& tokens) {
  if (options.weights != CombineWeights::renormalised_if_shared) {
    return options.weights == CombineWeights::renormalised;
  }
  return std::ranges::any_of(tokens, [](const Token& token) { return token.kept.size() >= 2; });
}

// The kept expert number j: adds to out and to the gradients of the expert and of x; returns
// d/d(weight) = dout . y.
double run_expert(const MoeTensors& in, const Token& token, size_t j, int64_t n, const Tensor& dout,
                  MoeReference& result) {
  const int64_t e = token.kept[j], D = in.x.dim(1), H = in.fc1_bias.dim(1);
  const MoeTensors& d = result.gradient;
  const double g = token.g[j];
  Row pre, dhidden(static_cast<size_t>(H), 0.0);
  for (int64_t h = 0; h < H; ++h) {
    double sum = at(in.fc1_bias, e, h);
    for (int64_t i = 0; i < D; ++i) sum += at(in.fc1_weight, e, h, i) * at(in.x, n, i);
    pre.push_back(sum);
  }
  double dweight = 0;
  for (int64_t i = 0; i < D; ++i) {
    const double dy = g * at(dout, n, i);
    double y = at(in.fc2_bias, e, i);
    at(d.fc2_bias, e, i) += dy;
    for (int64_t h = 0; h < H; ++h) {
      const double hidden = gelu(pre[static_cast<size_t>(h)]);
      y += at(in.fc2_weight, e, i, h) * hidden;
      at(d.fc2_weight, e, i, h) += dy * hidden;
      dhidden[static_cast<size_t>(h)] += dy * at(in.fc2_weight, e, i, h);
    }
    at(result.out, n, i) += g * y;
    dweight += at(dout, n, i) * y;
  }
  for (int64_t h = 0; h < H; ++h) {
    const double dpre =
        dhidden[static_cast<size_t>(h)] * gelu_derivative(pre[static_cast<size_t>(h)]);
    at(d.fc1_bias, e, h) += dpre;
    for (int64_t i = 0; i < D; ++i) {
      at(d.fc1_weight, e, h, i) += dpre * at(in.x, n, i);
      at(d.x, n, i) += dpre * at(in.fc1_weight, e, h, i);
    }
  }
  return dweight;
}

// From d/d(weights) of a token through renormalisation and softmax to the gate and x.
void walk_gate_back(const MoeTensors& in, const Token& token, const Row& dweights,
                    bool renormalised, int64_t n, const MoeTensors& d) {
  const int64_t E = in.gate.dim(0), D = in.gate.dim(1);
  const double mean = std::inner_product(dweights.begin(), dweights.end(), token.g.begin(), 0.0);
  Row dr(static_cast<size_t>(E), 0.0);
  for (size_t j = 0; j < dweights.size(); ++j) {
    dr[static_cast<size_t>(token.kept[j])] =
        renormalised ? (dweights[j] - mean) / token.kept_sum : dweights[j];
  }
  const double dr_mean = std::inner_product(dr.begin(), dr.end(), token.r.begin(), 0.0);
  for (int64_t e = 0; e < E; ++e) {
    const double dlogit = token.r[static_cast<size_t>(e)] * (dr[static_cast<size_t>(e)] - dr_mean);
    for (int64_t i = 0; i < D; ++i) {
      at(d.gate, e, i) += dlogit * at(in.x, n, i);
      at(d.x, n, i) += dlogit * at(in.gate, e, i);
    }
  }
}

Tensor zeros_like(const Tensor& tensor) { return Tensor::zeros(tensor.shape(), DType::f64); }

}  // namespace

MoeReference moe_reference(const MoeTensors& in, const RouteOptions& options, const Tensor& dout) {
  const int64_t N = in.x.dim(0);
  MoeReference result{
      zeros_like(in.x),
      Tensor::zeros({N, in.gate.dim(0)}, DType::f64),
      {zeros_like(in.x), zeros_like(in.gate), zeros_like(in.fc1_weight), zeros_like(in.fc1_bias),
       zeros_like(in.fc2_weight), zeros_like(in.fc2_bias)}};
  std::vector<Token> tokens;
  for (int64_t n = 0; n < N; ++n) tokens.push_back(choose(in, n, options));
  const bool renormalised = renormalises(options, tokens);
  for (int64_t n = 0; n < N; ++n) {
    Token& token = tokens[static_cast<size_t>(n)];
    Row dweights;
    for (size_t j = 0; j < token.kept.size(); ++j) {
      if (renormalised) token.g[j] /= token.kept_sum;
      at(result.weights, n, token.kept[j]) = token.g[j];
      dweights.push_back(run_expert(in, token, j, n, dout, result));
    }
    walk_gate_back(in, token, dweights, renormalised, n, result.gradient);
  }
  return result;
}

}  // namespace offshoot::testing
