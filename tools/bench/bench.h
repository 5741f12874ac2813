// What the benchmarks share: timing that compares fairly, and tables that are JSON, too.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/json.h"

namespace offshoot {

struct BenchOptions {
  int64_t rounds = 9;         // of a comparison; its result is their median
  int64_t max_experts = 256;  // growth: the largest pool
  int64_t steps = 200;        // step: measured training steps of a method
  std::string folder = ".";   // save: where its files go for a while
};

// Seconds that one call of `f` takes.
double seconds_of(const std::function<void()>& f);

double median(std::vector<double> values);

// Calls every contestant once without counting it, then once in each of `rounds` rounds, every
// other round in reverse order, so that no one always runs first or on what another one left in the
// caches; before each call it waits until idle threads of the one before have gone to sleep. A
// contestant returns the seconds to count. Returns each one's seconds by round.
using Contestant = std::function<double()>;
std::vector<std::vector<double>> alternate(int64_t rounds, std::span<const Contestant> contestants);

// The median over the rounds of a[i] / b[i]: what a drifting machine changes least.
double median_ratio(const std::vector<double>& a, const std::vector<double>& b);

// As many calls in a row as fill about a millisecond, so that a clock's tick does not matter.
// Returns seconds a call.
double seconds_per_call(const std::function<void()>& f);

// Rows of one benchmark: printed as they come, kept for the JSON file. A row may have more members
// than the table has columns.
struct Column {
  std::string key;
  std::string title;
  int width;
  int digits = 0;  // of a fraction
};

class BenchTable {
 public:
  BenchTable(std::string name, std::string description, std::vector<Column> columns);

  void add(Json row);
  // A line of text below the rows so far.
  void note(const std::string& text);

  const std::string& name() const { return name_; }
  Json to_json() const;

 private:
  std::string name_;
  std::string description_;
  std::vector<Column> columns_;
  Json rows_ = Json::array();
  Json notes_ = Json::array();
};

// The benchmarks.
BenchTable bench_gemm(const BenchOptions& options);
BenchTable bench_ops(const BenchOptions& options);
BenchTable bench_moe(const BenchOptions& options);
BenchTable bench_moe_cuda(const BenchOptions& options);
BenchTable bench_growth(const BenchOptions& options);
BenchTable bench_step(const BenchOptions& options);
BenchTable bench_save(const BenchOptions& options);

}  // namespace offshoot
