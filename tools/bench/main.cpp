// offshoot-bench: how fast the parts are on this machine.
#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/file.h"
#include "engine/parallel.h"
#include "tools/bench/bench.h"
#include "tools/bench/onednn.h"
#include "tools/support/options.h"

namespace offshoot {
namespace {

struct Benchmark {
  std::string name;
  BenchTable (*run)(const BenchOptions& options);
  bool named_only = false;  // needs a GPU, or writes much
};

const std::vector<Benchmark>& benchmarks() {
  static const std::vector<Benchmark> all = {
      {"gemm", bench_gemm},      {"ops", bench_ops},
      {"moe", bench_moe},        {"moe-cuda", bench_moe_cuda, true},
      {"growth", bench_growth},  {"step", bench_step},
      {"save", bench_save, true}};
  return all;
}

int run(int argc, char** argv) {
  BenchOptions bench;
  std::vector<std::string> wanted;
  std::string json_file;
  int64_t threads = num_threads();
  std::string names;
  for (const Benchmark& benchmark : benchmarks()) names += " " + benchmark.name;

  Options options("offshoot-bench", "Measures the parts of Offshoot on this machine.");
  options.add("benchmarks", &wanted, "which ones, all but moe-cuda and save by default:" + names);
  options.add("--threads", &threads, "processor threads").at_least(1).at_most(1024);
  options.add("--rounds", &bench.rounds, "rounds of a comparison, of which the median counts")
      .at_least(1);
  options.add("--max-experts", &bench.max_experts, "growth: the largest pool").at_least(8);
  options.add("--steps", &bench.steps, "step: training steps measured").at_least(1);
  options.add("--folder", &bench.folder, "save: where its files go for a while");
  options.add("--json", &json_file, "write all figures to this file");
  if (!options.parse(argc, argv)) return 0;
  for (const std::string& name : wanted) {
    if (std::ranges::find(benchmarks(), name, &Benchmark::name) == benchmarks().end()) {
      options.refuse("benchmarks", fmt::format("got {}, expected some of{}", name, names));
    }
  }

  set_num_threads(static_cast<int>(threads));
  set_onednn_threads(static_cast<int>(threads));
  fmt::print("{} threads, medians of {} alternating rounds\n", threads, bench.rounds);
  Json results = Json::object({{"configuration", options.to_json(Options::Which::all)}});
  for (const Benchmark& benchmark : benchmarks()) {
    const bool named = std::ranges::find(wanted, benchmark.name) != wanted.end();
    if (!named && (!wanted.empty() || benchmark.named_only)) continue;
    results[benchmark.name] = benchmark.run(bench).to_json();
  }
  if (!json_file.empty()) write_file(json_file, results.dump(2) + "\n");
  return 0;
}

}  // namespace
}  // namespace offshoot

int main(int argc, char** argv) {
  return offshoot::run_program([&] { return offshoot::run(argc, argv); });
}
