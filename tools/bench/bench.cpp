#include "tools/bench/bench.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <thread>
#include <utility>

#include "engine/error.h"

namespace offshoot {
namespace {

std::string cell(const Column& column, const Json* value) {
  if (value == nullptr || value->is_null()) return fmt::format("{:>{}}", "-", column.width);
  if (value->kind() == Json::Kind::real) {
    return fmt::format("{:>{}.{}f}", value->get<double>(), column.width, column.digits);
  }
  const std::string text = value->is_string() ? value->get<std::string>() : value->dump();
  // Numbers stand right, names left.
  return value->is_number() ? fmt::format("{:>{}}", text, column.width)
                            : fmt::format("{:<{}}", text, column.width);
}

void print_line(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

}  // namespace

double seconds_of(const std::function<void()>& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  OFFSHOOT_CHECK(!values.empty(), "median of nothing");
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::vector<std::vector<double>> alternate(int64_t rounds,
                                           std::span<const Contestant> contestants) {
  std::vector<std::vector<double>> seconds(contestants.size());
  constexpr std::chrono::milliseconds kPause(20);
  for (const Contestant& contestant : contestants) contestant();
  for (int64_t round = 0; round < rounds; ++round) {
    for (size_t turn = 0; turn < contestants.size(); ++turn) {
      const size_t who = round % 2 == 0 ? turn : contestants.size() - 1 - turn;
      std::this_thread::sleep_for(kPause);
      seconds[who].push_back(contestants[who]());
    }
  }
  return seconds;
}

double median_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios(a.size());
  std::ranges::transform(a, b, ratios.begin(), std::divides());
  return median(std::move(ratios));
}

double seconds_per_call(const std::function<void()>& f) {
  constexpr double kWanted = 1e-3;
  const double once = seconds_of(f);
  const auto calls = static_cast<int64_t>(std::ceil(kWanted / std::max(once, 1e-7)));
  if (calls <= 1) return once;
  const double all = seconds_of([&] {
    for (int64_t call = 0; call < calls; ++call) f();
  });
  return all / static_cast<double>(calls);
}

BenchTable::BenchTable(std::string name, std::string description, std::vector<Column> columns)
    : name_(std::move(name)), description_(std::move(description)), columns_(std::move(columns)) {
  print_line(fmt::format("\n{}: {}", name_, description_));
  std::string line;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Column& column = columns_[i];
    line += i == 0 ? fmt::format("{:<{}}", column.title, column.width)
                   : fmt::format("  {:>{}}", column.title, column.width);
  }
  print_line(line);
}

void BenchTable::add(Json row) {
  std::string line;
  for (size_t i = 0; i < columns_.size(); ++i) {
    line += (i == 0 ? "" : "  ") + cell(columns_[i], row.find(columns_[i].key));
  }
  print_line(line);
  rows_.push_back(std::move(row));
}

void BenchTable::note(const std::string& text) {
  print_line("  " + text);
  notes_.push_back(text);
}

Json BenchTable::to_json() const {
  return Json::object({{"description", description_}, {"rows", rows_}, {"notes", notes_}});
}

}  // namespace offshoot
