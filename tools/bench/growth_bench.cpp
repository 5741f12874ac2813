// growth: what one duplication of an expert costs, for pools of 8 to 256 experts.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>

#include "engine/error.h"
#include "engine/module.h"
#include "engine/xxh3.h"
#include "optim/adam.h"
#include "tools/bench/bench.h"
#include "tools/bench/memory.h"

namespace offshoot {
namespace {

constexpr int64_t kFeatures = 512, kHidden = 2048, kFirstExperts = 8;
constexpr int64_t kPage = 4096;
constexpr double kMiB = 1 << 20;

using Bytes = std::span<std::byte>;

int64_t total(const std::vector<Bytes>& ranges) {
  return std::accumulate(ranges.begin(), ranges.end(), int64_t{0}, [](int64_t sum, Bytes range) {
    return sum + static_cast<int64_t>(range.size());
  });
}

Xxh3Digest digest(const std::vector<Bytes>& ranges) {
  Xxh3Stream stream;
  for (const Bytes range : ranges) stream.update(range);
  return stream.digest();
}

// The tensors of a layer's experts as a model and Adam make them: value, gradient, two moments.
class Pool {
 public:
  explicit Pool(int64_t reserve)
      : reserve_(reserve),
        fc1_weight_(made("fc1.weight", {kFirstExperts, kHidden, kFeatures})),
        fc1_bias_(made("fc1.bias", {kFirstExperts, kHidden})),
        fc2_weight_(made("fc2.weight", {kFirstExperts, kFeatures, kHidden})),
        fc2_bias_(made("fc2.bias", {kFirstExperts, kFeatures})),
        gate_(made("gate.weight", {kFirstExperts, kFeatures})),
        adam_({{all()}}) {
    for (Parameter* p : all()) {
      copy_elements(drawn(p->name() + ".grad", p->value().shape()), p->gradient_slot().grad);
    }
    for (Parameter* p : {&fc1_weight_, &fc2_weight_, &gate_}) {
      p->set_gradient_split(GradientSplit::project_rows);
    }
    adam_.step(1e-3);  // moments that are not zero
  }

  int64_t experts() const { return group_.rows(); }
  void duplicate(int64_t source) { group_.duplicate(source); }
  void remove_last() { group_.remove(experts() - 1); }

  // Rows [first, last) of every tensor but the step counts.
  std::vector<Bytes> rows(int64_t first, int64_t last) const {
    std::vector<Bytes> ranges;
    const auto add = [&](const Tensor& tensor) {
      if (first == last || tensor.dtype() != DType::f32) return;
      const Tensor part = tensor.rows(first, last - first);
      ranges.emplace_back(part.raw(), static_cast<size_t>(part.bytes()));
    };
    for (const Parameter* p : adam_.groups()[0].parameters) {
      add(p->value());
      add(p->grad());
    }
    adam_.each_state([&](const std::string&, const Tensor& state) { add(state); });
    return ranges;
  }

  std::vector<Bytes> all_but(int64_t expert) const {
    std::vector<Bytes> ranges = rows(0, expert);
    for (const Bytes range : rows(expert + 1, experts())) ranges.push_back(range);
    return ranges;
  }

  int64_t expert_bytes() const { return total(rows(0, 1)); }
  // Tensors that grow, the five step counts among them.
  int64_t buffers() const { return static_cast<int64_t>(rows(0, 1).size()) + 5; }

 private:
  static Tensor drawn(const std::string& name, const Shape& shape) {
    return uniform(shape, DType::f32, Random(1, stream_of(name)), -0.05, 0.05);
  }
  Parameter made(const std::string& name, const Shape& shape) {
    return Parameter(name, drawn(name, shape), group_, reserve_);
  }
  std::vector<Parameter*> all() {
    return {&fc1_weight_, &fc1_bias_, &fc2_weight_, &fc2_bias_, &gate_};
  }

  int64_t reserve_;
  GrowthGroup group_{"experts", kFirstExperts};
  Parameter fc1_weight_, fc1_bias_, fc2_weight_, fc2_bias_, gate_;
  Adam adam_;
};

double duplicate_seconds(Pool& pool, int64_t source) {
  const double seconds = seconds_of([&] { pool.duplicate(source); });
  pool.remove_last();
  return seconds;
}

double copy_seconds(const Pool& pool, int64_t source) {
  const std::vector<Bytes> ranges = pool.rows(source, source + 1);
  const FreshMapping fresh(total(ranges));
  return seconds_of([&] {
    std::byte* to = fresh.data();
    for (const Bytes range : ranges) {
      std::memcpy(to, range.data(), range.size());
      to += range.size();
    }
  });
}

// One duplication while the other experts' pages may be neither read nor written, and their bytes
// before and after. Throws Error when one changed, or when more memory became resident than the
// expert's and a page a tensor.
void add_proof(Pool& pool, Json& row) {
  const int64_t source = pool.experts() / 2;
  const std::vector<Bytes> others = pool.all_but(source);
  const Xxh3Digest before = digest(others);
  const int64_t resident = resident_bytes();
  int64_t forbidden_bytes = 0, risen = 0;
  {
    const ForbiddenRanges forbidden(others);
    forbidden_bytes = forbidden.bytes();
    pool.duplicate(source);
    risen = resident_bytes() - resident;
  }
  row["others_bytes"] = total(others);
  row["others_forbidden_bytes"] = forbidden_bytes;
  if (digest(others) != before) fail("growth", "E {}: another expert changed", pool.experts() - 1);
  row["resident_rise_bytes"] = risen;
  const int64_t over_bytes = risen - pool.expert_bytes();
  row["resident_over_pages"] = static_cast<double>(over_bytes) / static_cast<double>(kPage);
  if (over_bytes > pool.buffers() * kPage) {
    fail("growth", "E {}: resident memory rose by {} bytes, expected at most {}",
         pool.experts() - 1, risen, pool.expert_bytes() + pool.buffers() * kPage);
  }
  pool.remove_last();
}

Json measure(Pool& small, Pool& pool, int64_t rounds) {
  int64_t round = 0;
  const auto source = [&](const Pool& of) { return round++ * 7 % of.experts(); };
  const std::vector<Contestant> contestants = {
      [&] { return duplicate_seconds(pool, source(pool)); },
      [&] { return copy_seconds(pool, source(pool)); },
      [&] { return duplicate_seconds(small, source(small)); },
  };
  const auto seconds = alternate(rounds, contestants);
  Json row = Json::object({{"experts", pool.experts()},
                           {"ms", 1e3 * median(seconds[0])},
                           {"memcpy_ms", 1e3 * median(seconds[1])},
                           {"to_8_experts", median_ratio(seconds[0], seconds[2])},
                           {"to_memcpy", median_ratio(seconds[0], seconds[1])},
                           {"expert_bytes", pool.expert_bytes()},
                           {"buffers", pool.buffers()}});
  add_proof(pool, row);
  return row;
}

}  // namespace

BenchTable bench_growth(const BenchOptions& options) {
  Pool small(kFirstExperts + 1), pool(options.max_experts + 1);
  release_pooled_storage();
  BenchTable table("growth",
                   fmt::format("one duplication of an expert, decomposition included; D {}, H {}, "
                               "f32, {:.1f} MiB an expert (value, gradient, two moments)",
                               kFeatures, kHidden, pool.expert_bytes() / kMiB),
                   {{"experts", "E", 5},
                    {"ms", "ms", 8, 2},
                    {"memcpy_ms", "memcpy ms", 9, 2},
                    {"to_8_experts", "/ E=8", 7, 2},
                    {"to_memcpy", "/ memcpy", 8, 2},
                    {"resident_over_pages", "RSS rise - expert, pages", 24, 1},
                    {"others_forbidden_bytes", "others' bytes, untouched", 24}});
  for (int64_t experts = kFirstExperts; experts <= options.max_experts; experts *= 2) {
    // The pool itself, a duplicate, a copy, and a margin for the rest of the machine.
    const int64_t needed_bytes = (experts - pool.experts() + 16) * pool.expert_bytes();
    if (needed_bytes > available_bytes()) {
      table.note(fmt::format("E {}: skipped, needs {:.0f} MiB of {:.0f} MiB available", experts,
                             needed_bytes / kMiB, available_bytes() / kMiB));
      break;
    }
    while (pool.experts() < experts) pool.duplicate(pool.experts() - kFirstExperts);
    table.add(measure(small, pool, options.rounds));
  }
  table.note("memcpy: the same bytes into newly mapped memory, in turn with the duplications");
  table.note(
      fmt::format("RSS: {} tensors, of which each may cost one page; meanwhile no page of another "
                  "expert could be read or written, and none changed",
                  pool.buffers()));
  return table;
}

}  // namespace offshoot
