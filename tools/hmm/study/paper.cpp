// The paper's synthetic experiment: fixed pools of every size beside pools that find their own.
#include <cstdlib>

#include "engine/error.h"
#include "tools/hmm/study/study.h"

namespace offshoot {
namespace {

constexpr int64_t kSizes[] = {5, 10, 15, 20};
constexpr const char* kReference = "mass-reference-p0.9-Kinit8";

class Grid {
 public:
  explicit Grid(const StudySettings& settings)
      : settings_(settings), hidden_(settings.quick ? 8 : 32) {
    // Dense models and the shared expert are as large as the user's experts.
    if (const std::string* hidden = settings.flags.find("--hidden")) {
      hidden_ = std::strtoll(hidden->c_str(), nullptr, 10);
    }
  }

  void fixed_pools() {
    for (const int64_t k : {1, 2, 4}) {
      for (const int64_t K : kSizes) {
        Flags flags{{"--method", "topk"}};
        add(fmt::format("topk-K{}-k{}", K, k), fmt::format("top-{}, K {}", k, K),
            fmt::format("top-{}", k), flags.set("--experts", K).set("--topk", k),
            {{"experts", K}, {"topk", k}});
      }
    }
    for (const int64_t K : kSizes) {
      Flags flags{{"--method", "topp"}};
      add(fmt::format("topp-K{}", K), fmt::format("top-p 0.9, K {}", K), "top-p",
          flags.set("--experts", K), {{"experts", K}, {"p", 0.9}});
    }
    for (const int64_t K : kSizes) {
      Flags flags{{"--method", "gmoe"}};
      add(fmt::format("gmoe-K{}", K), fmt::format("GMoE, K {}", K), "GMoE",
          flags.set("--experts", K), {{"experts", K}, {"topk", 2}});
    }
    for (const int64_t K : kSizes) dense(K);
  }

  void variants() {
    const Flags top2{{"--method", "topk"}, {"--experts", "10"}};
    Flags shared = top2, orthogonal = top2;
    add("shared-K10", "top-2, K 10, shared expert", "variants",
        shared.set("--shared-hidden", hidden_), {{"experts", 10}});
    add("ortho-K10", "top-2, K 10, orthogonality and variance losses", "variants",
        orthogonal.set("--orthogonality-loss", "0.01").set("--variance-loss", "0.01"),
        {{"experts", 10}});
  }

  void growing_pools() {
    for (const char* temperature : {"off", "learned"}) {
      CellPlan& plan =
          add(fmt::format("dynmoe-{}", temperature),
              fmt::format("DynMoE, temperature {}", temperature), "DynMoE",
              {{"--method", "dynmoe"}, {"--temperature", temperature}}, {{"initial_experts", 8}});
      plan.cell.published = {{"test_loss", 2.18}, {"active_experts", 4.7}};
    }
    for (const char* preset : {"reference", "paper"}) {
      for (const double p : {0.7, 0.9}) {
        for (const int64_t initial : {3, 5, 8}) mass(preset, p, initial);
      }
    }
  }

  std::vector<CellPlan> take() { return std::move(plans_); }

 private:
  void mass(const char* preset, double p, int64_t initial) {
    Flags flags{{"--method", "mass"}, {"--preset", preset}, {"--p", fmt::format("{}", p)}};
    CellPlan& plan = add(fmt::format("mass-{}-p{}-Kinit{}", preset, p, initial),
                         fmt::format("MASS {}, p {}, from {}", preset, p, initial),
                         fmt::format("MASS {}", preset), flags.set("--experts", initial),
                         {{"p", p}, {"initial_experts", static_cast<double>(initial)}});
    plan.cell.published = {{"test_loss", 2.15}, {"experts", 12.4}, {"active_experts", 3.9}};
  }

  // The user's --hidden, an expert's, is not the MLP's.
  void dense(int64_t K) {
    const Flags flags{{"--method", "dense"}};
    CellPlan& plan =
        add(fmt::format("dense-K{}", K), fmt::format("dense, {} hidden units", K * hidden_),
            "dense", flags, {{"experts", K}});
    Flags all = settings_.base();
    plan.cell.flags = all.set(flags).set("--hidden", K * hidden_).list();
    for (Trial& trial : plan.trials) trial.flags = plan.cell.flags;
  }

  struct Number {
    const char* name;
    double value;
    Number(const char* n, double v) : name(n), value(v) {}
    Number(const char* n, int64_t v) : Number(n, static_cast<double>(v)) {}
    Number(const char* n, int v) : Number(n, static_cast<double>(v)) {}
  };
  CellPlan& add(std::string name, std::string label, std::string family, const Flags& flags,
                std::initializer_list<Number> numbers) {
    std::map<std::string, double> all;
    for (const Number& number : numbers) all[number.name] = number.value;
    plans_.push_back(plan_cell(settings_, std::move(name), std::move(label), std::move(family),
                               flags, std::move(all)));
    return plans_.back();
  }

  const StudySettings& settings_;
  int64_t hidden_;
  std::vector<CellPlan> plans_;
};

std::vector<CellPlan> plan(const StudySettings& settings) {
  Grid grid(settings);
  grid.fixed_pools();
  grid.variants();
  grid.growing_pools();
  return grid.take();
}

void finish(const StudySettings&, StudyResults& results) {
  for (const char* measure : {"test_loss", "jsd_entity", "jsd_property"}) {
    compare_all(results, measure, kReference);
  }
}

}  // namespace

const Study kPaperStudy{
    "paper",
    "The paper's synthetic experiment",
    "Fixed pools of 5 to 20 experts, DynMoE and MASS on the same data: where is the elbow, and "
    "does a pool that grows find it?",
    5,
    3000,
    false,
    plan,
    nullptr,
    finish};

}  // namespace offshoot
