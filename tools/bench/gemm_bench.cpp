// gemm: our matrix product against oneDNN's, in the shapes of training.
#include <fmt/core.h>

#include <vector>

#include "engine/module.h"
#include "ops/gemm.h"
#include "tools/bench/bench.h"
#include "tools/bench/onednn.h"

namespace offshoot {
namespace {

struct Size {
  const char* what;
  int64_t M, N, K;
};

// Of a linear layer with N rows: forward x W^T, backward to x, backward to W.
constexpr Size kSizes[] = {
    {"square", 64, 64, 64},
    {"square", 256, 256, 256},
    {"square", 512, 512, 512},
    {"square", 1024, 1024, 1024},
    {"square", 2048, 2048, 2048},
    {"hmm qkv", 1024, 192, 64},
    {"hmm head", 1024, 50, 64},
    {"hmm fc1, an expert", 700, 32, 64},
    {"moe fc1, an expert", 1024, 3072, 768},
    {"moe fc2, an expert", 1024, 768, 3072},
};

Tensor drawn(int64_t rows, int64_t columns, uint64_t stream) {
  return uniform({rows, columns}, DType::f32, Random(1, stream), -1, 1);
}

struct Contest {
  double ours;  // seconds
  double onednn;
  double ratio;  // of rates
};

Contest compare(int64_t rounds, const std::function<void()>& ours,
                const std::function<void()>& onednn) {
  const std::vector<Contestant> contestants = {[&] { return seconds_per_call(ours); },
                                               [&] { return seconds_per_call(onednn); }};
  const auto seconds = alternate(rounds, contestants);
  return {median(seconds[0]), median(seconds[1]), median_ratio(seconds[1], seconds[0])};
}

}  // namespace

BenchTable bench_gemm(const BenchOptions& options) {
  BenchTable table("gemm", "matrix products in f32, GFLOP/s, against oneDNN's sgemm",
                   {{"what", "", 20},
                    {"product", "product", 8},
                    {"M", "M", 6},
                    {"N", "N", 6},
                    {"K", "K", 6},
                    {"gflops", "ours", 8, 1},
                    {"onednn_gflops", "oneDNN", 8, 1},
                    {"to_onednn", "ratio", 6, 2}});
  for (const Size& size : kSizes) {
    const auto [what, M, N, K] = size;
    const Tensor x = drawn(M, K, 1), weight = drawn(N, K, 2), out = drawn(M, N, 3);
    const Tensor dx = drawn(M, K, 4), dweight = drawn(N, K, 5);
    const float *x_data = x.data<float>(), *w_data = weight.data<float>();
    float *out_data = out.data<float>(), *dx_data = dx.data<float>();
    float* dw_data = dweight.data<float>();
    const auto add = [&](const char* product, const Contest& contest) {
      const double gflop = 2e-9 * static_cast<double>(M * N * K);
      table.add(Json::object({{"what", what},
                              {"product", product},
                              {"M", M},
                              {"N", N},
                              {"K", K},
                              {"gflops", gflop / contest.ours},
                              {"onednn_gflops", gflop / contest.onednn},
                              {"to_onednn", contest.ratio}}));
    };
    add("x W^T", compare(
                     options.rounds,
                     [&, M = M, N = N, K = K] {
                       gemm<float>(M, N, K, plain(x_data, K), transposed(w_data, K), out_data, N);
                     },
                     [&, M = M, N = N, K = K] {
                       onednn_gemm(M, N, K, {x_data, K, false}, {w_data, K, true}, out_data, N);
                     }));
    add("dout W", compare(
                      options.rounds,
                      [&, M = M, N = N, K = K] {
                        gemm<float>(M, K, N, plain(out_data, N), plain(w_data, K), dx_data, K);
                      },
                      [&, M = M, N = N, K = K] {
                        onednn_gemm(M, K, N, {out_data, N, false}, {w_data, K, false}, dx_data, K);
                      }));
    add("dout^T x", compare(
                        options.rounds,
                        [&, M = M, N = N, K = K] {
                          gemm<float>(N, K, M, transposed(out_data, N), plain(x_data, K), dw_data,
                                      K);
                        },
                        [&, M = M, N = N, K = K] {
                          onednn_gemm(N, K, M, {out_data, N, true}, {x_data, K, false}, dw_data, K);
                        }));
  }
  return table;
}

}  // namespace offshoot
