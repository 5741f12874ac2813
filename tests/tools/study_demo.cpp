#include "tests/tools/study_demo.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/error.h"
#include "engine/random.h"

namespace offshoot::testing {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kFloor = 1.331252;

// What a cell's runs come to, before the noise between seeds.
struct Truth {
  double loss = 1.9;
  double experts = 8;
  double active = 2;
  double jsd_entity = 0.9;
  double jsd_property = 0.15;
};

class Demo {
 public:
  Demo(std::string study, std::string title, std::string question, int64_t steps, int64_t seeds)
      : random_(2311, stream_of(study)) {
    results_.study = std::move(study);
    results_.title = std::move(title);
    results_.question = std::move(question);
    results_.command = "offshoot-hmm " + results_.study;
    results_.engine_version = "0.6.0";
    results_.steps = steps;
    for (int64_t seed = 0; seed < seeds; ++seed) {
      results_.seeds.push_back(seed);
      shift_.push_back(0.008 * noise());
    }
  }

  StudyResults results_;

  // Of mean 0 and deviation 1, nearly.
  double noise() {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += random_.uniform();
    return sum - 6;
  }

  StudyCell& cell(std::string name, std::string label, std::string family,
                  std::map<std::string, double> numbers) {
    StudyCell cell;
    cell.name = std::move(name);
    cell.label = std::move(label);
    cell.family = std::move(family);
    cell.flags = {"--steps", fmt::format("{}", results_.steps)};
    cell.numbers = std::move(numbers);
    for (const int64_t seed : results_.seeds) {
      StudyRun run;
      run.seed = seed;
      cell.runs.push_back(run);
    }
    results_.cells.push_back(cell);
    return results_.cells.back();
  }

  // Seeds shift all cells alike, so that pairs differ less than runs do.
  void measure(StudyCell& cell, const Truth& truth, double noise_of_k) {
    for (size_t i = 0; i < cell.runs.size(); ++i) {
      StudyRun& run = cell.runs[i];
      const bool dense = std::isnan(truth.experts);
      const double experts = dense ? kNaN : std::round(truth.experts + noise_of_k * noise());
      const double active = dense ? kNaN : truth.active + (noise_of_k > 0 ? 0.2 * noise() : 0);
      run.measures = {{"test_loss", truth.loss + shift_[i] + 0.003 * noise()},
                      {"floor", kFloor},
                      {"experts", experts},
                      {"active_experts", active},
                      {"jsd_entity", dense ? kNaN : truth.jsd_entity + 0.03 * noise()},
                      {"jsd_property", dense ? kNaN : truth.jsd_property + 0.01 * noise()},
                      {"parameters", 60000 + 4000 * (dense ? 10 : experts)},
                      {"flops_per_token", 6.2e4 + (dense ? 8.2e4 : 128 * experts + 8192 * active)}};
      run.initial_experts = dense ? 0 : static_cast<int64_t>(experts);
      if (!dense) run.experts = {{0, run.initial_experts}};
    }
  }

  // Growth from `initial` to what the run came to, between two steps.
  void grow(StudyCell& cell, int64_t initial, int64_t from, int64_t to) {
    for (StudyRun& run : cell.runs) {
      const auto experts = static_cast<int64_t>(run.measure("experts"));
      run.initial_experts = initial;
      run.experts = {{0, initial}};
      const int64_t births = std::max<int64_t>(0, experts - initial);
      for (int64_t i = 0; i < births; ++i) {
        const int64_t step =
            from + (i + 1) * (to - from) / (births + 1) + static_cast<int64_t>(2 * noise());
        const int64_t now = initial + i + 1;
        run.events.push_back({GrowthEvent::Kind::expand, step, "blocks.0.moe", i % initial, now - 1,
                              0.004, 3e-4, i > 0 ? 0.002 : kNaN, now});
        run.experts.emplace_back(step + 1, now);
      }
    }
  }

  StudyResults finish(std::initializer_list<const char*> measures, const std::string& against) {
    for (const char* measure : measures) compare_all(results_, measure, against);
    estimate_all(results_);
    return std::move(results_);
  }

 private:
  Random random_;
  std::vector<double> shift_;
};

StudyResults paper(int64_t seeds) {
  Demo demo("paper", "The paper's synthetic experiment",
            "Fixed pools of 5 to 20 experts, DynMoE and MASS on the same data: where is the elbow, "
            "and does a pool that grows find it?",
            3000, seeds);
  const auto sized = [](double k, double at5, double fall) {
    return at5 - fall * (1 - std::exp(-(k - 5) / 4)) - 0.0008 * (k - 5);
  };
  for (const int k : {1, 2, 4}) {
    for (const int K : {5, 10, 15, 20}) {
      const double base = k == 1 ? 1.985 : k == 2 ? 1.953 : 1.945;
      demo.measure(demo.cell(fmt::format("topk-K{}-k{}", K, k), fmt::format("top-{}, K {}", k, K),
                             fmt::format("top-{}", k), {{"experts", K}, {"topk", k}}),
                   {sized(K, base, 0.055), double(K), double(k), 0.6 + 0.02 * K, 0.05 + 0.01 * K},
                   0);
    }
  }
  for (const int K : {5, 10, 15, 20}) {
    demo.measure(demo.cell(fmt::format("topp-K{}", K), fmt::format("top-p 0.9, K {}", K), "top-p",
                           {{"experts", K}, {"p", 0.9}}),
                 {sized(K, 1.94, 0.05), double(K), 2.2 + 0.12 * K, 0.5 + 0.01 * K, 0.08}, 0);
    demo.measure(demo.cell(fmt::format("gmoe-K{}", K), fmt::format("GMoE, K {}", K), "GMoE",
                           {{"experts", K}, {"topk", 2}}),
                 {sized(K, 1.97, 0.05), double(K), 2, 0.5 + 0.02 * K, 0.1}, 0);
    demo.measure(
        demo.cell(fmt::format("dense-K{}", K), fmt::format("dense, {} hidden units", 32 * K),
                  "dense", {{"experts", K}}),
        {sized(K, 1.99, 0.06), kNaN, kNaN, kNaN, kNaN}, 0);
  }
  demo.measure(demo.cell("shared-K10", "top-2, K 10, shared expert", "variants", {{"experts", 10}}),
               {1.893, 10, 2, 0.97, 0.2}, 0);
  demo.measure(demo.cell("ortho-K10", "top-2, K 10, orthogonality and variance losses", "variants",
                         {{"experts", 10}}),
               {1.905, 10, 2, 1.1, 0.26}, 0);
  for (const bool off : {true, false}) {
    StudyCell& cell = demo.cell(off ? "dynmoe-off" : "dynmoe-learned",
                                off ? "DynMoE, temperature off" : "DynMoE, temperature learned",
                                "DynMoE", {{"initial_experts", 8}});
    cell.published = {{"test_loss", 2.18}, {"active_experts", 4.7}};
    demo.measure(cell, {off ? 1.931 : 1.945, off ? 10.4 : 9, off ? 4.55 : 3.1, 0.16, 0.03}, 0.8);
    demo.grow(cell, 8, 100, 2600);
  }
  for (const bool reference : {true, false}) {
    for (const double p : {0.7, 0.9}) {
      for (const int initial : {3, 5, 8}) {
        const char* preset = reference ? "reference" : "paper";
        StudyCell& cell =
            demo.cell(fmt::format("mass-{}-p{}-Kinit{}", preset, p, initial),
                      fmt::format("MASS {}, p {}, from {}", preset, p, initial),
                      fmt::format("MASS {}", preset), {{"p", p}, {"initial_experts", initial}});
        cell.published = {{"test_loss", 2.15}, {"experts", 12.4}, {"active_experts", 3.9}};
        demo.measure(cell,
                     {(p > 0.8 ? 1.886 : 1.912) + 0.006 * (8 - initial) + (reference ? 0 : 0.004),
                      initial == 8   ? 10.6
                      : initial == 5 ? 7.2
                                     : 4.6,
                      p > 0.8 ? 3.9 : 1.46, p > 0.8 ? 0.61 : 0.97, p > 0.8 ? 0.1 : 0.18},
                     0.7);
        demo.grow(cell, initial, 270, 300);
      }
    }
  }
  return demo.finish({"test_loss", "jsd_entity", "jsd_property"}, "mass-reference-p0.9-Kinit8");
}

StudyResults ablate(int64_t seeds) {
  Demo demo("ablate", "Ablations of MASS",
            "Which ingredients and constants of MASS change the number of experts, the loss or "
            "their specialization by more than the noise between seeds?",
            3000, seeds);
  const auto add = [&](const char* name, const char* label, const char* family, double value,
                       double loss, double experts, double active = 3.9, double jsd = 0.61) {
    std::map<std::string, double> numbers;
    if (value >= 0) numbers["value"] = value;
    demo.measure(demo.cell(name, label, family, numbers), {1.886 + loss, experts, active, jsd, 0.1},
                 0.7);
  };
  add("mass", "MASS, reference", "base", -1, 0, 10.6);
  add("no-change-point", "no change-point test", "ingredients", -1, -0.009, 16.4, 5.1);
  add("no-alignment", "no alignment test", "ingredients", -1, -0.008, 15.8, 4.9);
  add("clone", "plain clone, no decomposition", "ingredients", -1, 0.001, 10.4);
  add("whole-tensor", "projection of whole tensors", "ingredients", -1, 0.000, 10.7);
  add("rows-of-all", "projection as in the paper's text", "ingredients", -1, 0.002, 10.3);
  add("no-lred", "no redundancy loss", "ingredients", -1, 0.0005, 10.5, 3.95, 0.6);
  add("no-stopping", "no stopping rule", "ingredients", -1, -0.002, 11.3);
  add("top-2", "top-2 routing in place of top-p", "ingredients", -1, 0.014, 10.2, 2, 0.94);
  add("top-4", "top-4 routing in place of top-p", "ingredients", -1, 0.004, 10.4, 4, 0.7);
  add("delta-1e-1", "delta 0.1", "delta", 0.1, -0.008, 15.8);
  add("delta-1e-2", "delta 0.01", "delta", 0.01, -0.006, 14.2);
  add("delta-1e-3", "delta 0.001 (reference)", "delta", 0.001, 0, 10.6);
  add("delta-1e-4", "delta 0.0001", "delta", 0.0001, 0.004, 8.5);
  add("alpha-1e-1", "alpha 0.1", "alpha", 0.1, -0.001, 11.3);
  add("alpha-1e-2", "alpha 0.01 (reference)", "alpha", 0.01, 0, 10.6);
  add("alpha-1e-4", "alpha 0.0001", "alpha", 0.0001, 0.001, 10.0);
  add("window-60", "window 60", "window", 60, -0.012, 18.5, 5.4);
  add("window-120", "window 120", "window", 120, -0.009, 16.1, 5.0);
  add("window-200", "window 200", "window", 200, -0.004, 13.0);
  add("warmup-30", "warm-up 30", "warm-up", 30, 0.000, 10.4);
  add("warmup-90", "warm-up 90", "warm-up", 90, 0.001, 10.6);
  add("Kinit-3", "from 3 experts", "Kinit", 3, 0.027, 4.6, 2.4, 0.4);
  add("Kinit-5", "from 5 experts", "Kinit", 5, 0.014, 7.2, 3.1, 0.5);
  add("Kinit-8", "from 8 experts (reference)", "Kinit", 8, 0, 10.6);
  add("Kinit-12", "from 12 experts", "Kinit", 12, -0.006, 14.9, 4.7, 0.7);
  add("newborn-inherit", "newborns inherit moments", "options", -1, 0.001, 10.4, 3.9, 0.55);
  add("newborn-fresh", "newborns start anew", "options", -1, 0.000, 10.6, 3.9, 0.6);
  add("preserve-function", "splits preserve the layer's function", "options", -1, 0.002, 10.2);
  add("control-schedule", "busiest expert split by the clock", "controls", -1, 0.001, 10.6);
  add("control-random", "random splits", "controls", -1, 0.003, 10.6);
  add("control-never", "as many experts from the start", "controls", -1, -0.001, 10.6);
  // The reference itself, run again under another name.
  for (const char* name : {"delta-1e-3", "alpha-1e-2", "Kinit-8"}) {
    const auto twin = std::ranges::find(demo.results_.cells, name, &StudyCell::name);
    twin->runs = demo.results_.cells.front().runs;
  }
  return demo.finish({"test_loss", "experts", "active_experts", "jsd_entity", "jsd_property"},
                     "mass");
}

StudyResults drift(int64_t seeds) {
  Demo demo("drift", "Concepts that arrive while training goes on",
            "Two concepts, then a third, then two more: does growth answer, how soon, and are the "
            "early concepts forgotten less than by a fixed pool of the same final size?",
            3000, seeds);
  for (const auto& [regime, family] : {std::pair("replay", "old concepts stay"),
                                       {"new", "new concepts only"},
                                       {"none", "nothing arrives"}}) {
    const bool arrives = regime != std::string("none");
    const bool replay = regime != std::string("new");
    for (const std::string policy : {"mass-reference", "mass-paper", "dynmoe", "fixed"}) {
      StudyCell& cell =
          demo.cell(fmt::format("{}-{}", policy, regime), fmt::format("{}, {}", policy, family),
                    family, {{"stage_2", 1000}, {"stage_3", 2000}});
      const bool fixed = policy == "fixed";
      demo.measure(cell, {1.9, fixed ? 14. : policy == "dynmoe" ? 9. : 14., 3, 0.6, 0.1}, 0.8);
      if (!fixed) demo.grow(cell, 4, 80, policy == "mass-reference" ? 2300 : 1500);
      for (StudyRun& run : cell.runs) {
        for (int step = 0; step <= 3000; step += 50) {
          for (int stage = 0; stage < 3; ++stage) {
            const double begun = stage * 1000, over = replay ? 1e9 : begun + 1000;
            double loss = 3.0 - 0.9 * (1 - std::exp(-step / 60.0)) - (stage == 0 ? 0.0 : -0.35);
            if (step > begun && (arrives || stage == 0))
              loss -= (stage == 0 ? 0.35 : 0.6) * (1 - std::exp(-(step - begun) / 220.0));
            if (step > over) loss += (fixed ? 0.55 : 0.48) * (1 - std::exp(-(step - over) / 150.0));
            if (step == 0) loss = 3.95;
            run.curves[fmt::format("loss_stage_{}", stage + 1)].emplace_back(
                step, loss + 0.01 * demo.noise());
          }
        }
        for (int stage = 1; stage <= 3; ++stage) {
          const std::string loss = fmt::format("loss_stage_{}", stage);
          run.measures[loss] = run.curves[loss].back().second;
          double experts = kNaN;
          for (const auto& [step, K] : run.experts) {
            if (step <= 1000 * stage) experts = static_cast<double>(K);
          }
          run.measures[fmt::format("experts_stage_{}", stage)] = experts;
        }
        run.measures["forgetting"] =
            run.measures["loss_stage_1"] - run.curves["loss_stage_1"][20].second;
        run.measures["reaction_steps"] = fixed ? kNaN : 120 + 30 * demo.noise();
        run.measures["answered"] = fixed ? 0 : 0.5;
      }
    }
  }
  StudyResults& results = demo.results_;
  for (const StudyCell& cell : results.cells) {
    const std::string against = "mass-reference" + cell.name.substr(cell.name.rfind('-'));
    if (cell.name == against) continue;
    for (const char* measure : {"forgetting", "test_loss"}) {
      const StudyCell& reference = *results.find(against);
      results.comparisons.push_back(
          {measure, cell.name, against, cell_difference(cell, reference, measure)});
    }
  }
  return demo.finish({}, "");
}

StudyResults noise(int64_t seeds) {
  Demo demo("noise", "False and missed expansions",
            "With noise on the gradients, other batch sizes and other learning rates: how often "
            "does the detector expand though the data stay the same, and how often does it miss "
            "new concepts?",
            1500, seeds);
  const auto add = [&](const char* family, const std::string& name, double value, double wrong,
                       double missed) {
    for (const bool shift : {false, true}) {
      StudyCell& cell =
          demo.cell(name + (shift ? "-shift" : "-same"),
                    fmt::format("{}, {}", name, shift ? "concepts arrive" : "data stay the same"),
                    family, {{"value", value}, {"shift", shift ? 1. : 0.}, {"shift_step", 750}});
      demo.measure(cell, {1.7, 9, 3, 0.6, 0.1}, 1);
      for (StudyRun& run : cell.runs) {
        run.measures["false_expansions"] = std::max(0.0, wrong * (1 + 0.3 * demo.noise()));
        const double rate = shift ? missed : 1 - 0.4 * wrong;
        const double miss = demo.noise() < 2 * (2 * rate - 1) ? 1 : 0;
        run.measures["hit"] = 1 - miss;
        run.measures["missed"] = shift ? miss : kNaN;
        run.measures["reaction_steps"] = shift && miss == 0 ? 25 + 8 * demo.noise() : kNaN;
      }
    }
  };
  for (const double value : {0., 0.5, 1., 2., 4.}) {
    add("gradient noise", fmt::format("noise-{}", value), value, 1.4 / (1 + value),
        0.1 + 0.2 * value);
  }
  for (const double value : {4., 16., 64.}) {
    add("batch", fmt::format("batch-{}", value), value, 0.4 + 0.02 * value, 0.6 - 0.008 * value);
  }
  for (const double value : {0.001, 0.003, 0.01}) {
    add("learning rate", fmt::format("rate-{}", value), value, 0.4 + 150 * value, 0.3);
  }
  return demo.finish({"false_expansions"}, "noise-0-same");
}

StudyResults overhead(int64_t seeds) {
  Demo demo("overhead", "What monitoring and growth cost",
            "Which share of a training step's time, and how many bytes beside the model's, do "
            "observing, deciding and editing take?",
            600, std::min<int64_t>(seeds, 3));
  for (const int K : {8, 32, 128}) {
    for (const std::string method : {"mass-reference", "mass-paper", "dynmoe"}) {
      StudyCell& cell =
          demo.cell(fmt::format("{}-K{}", method, K), fmt::format("{}, from {} experts", method, K),
                    method, {{"experts", K}});
      demo.measure(cell, {2.1, K + 4., 3, 0.6, 0.1}, 0);
      for (StudyRun& run : cell.runs) {
        auto& m = run.measures;
        m["step_us"] = 2300 + 9 * K + 30 * demo.noise();
        m["steady_step_us"] = 2250 + 9 * K + 30 * demo.noise();
        m["observe_us"] = method == "dynmoe" ? 1.5 : 20 + 1.2 * K + demo.noise();
        m["decide_us"] = method == "dynmoe" ? 0.1 : 8 + 0.1 * K;
        m["edits"] = K == 32 ? 0 : 5;
        m["edit_us"] = 0.01 * m["edits"] * K;
        m["edit_each_us"] = K == 32 ? kNaN : 3 * K + demo.noise();
        m["expert_bytes"] = 4 * 4200;
        m["window_bytes"] = method == "dynmoe" ? 8. * K : 2 * 60 * 8. * K;
        m["model_bytes"] = 4 * (30000 + 4200. * K);
        m["optimizer_bytes"] = 2 * m["model_bytes"];
      }
    }
  }
  return demo.finish({}, "");
}

StudyResults need(int64_t seeds) {
  Demo demo("need", "How many experts does the data need?",
            "Corpora of 1, 2, 3, 5 and 10 concepts: how large must a pool be, and does the size "
            "that each policy chooses follow?",
            3000, std::min<int64_t>(seeds, 3));
  for (const int C : {1, 2, 3, 5, 10}) {
    const std::string many = C == 1 ? "1 concept" : fmt::format("{} concepts", C);
    for (const int K : {1, 2, 3, 5, 8, 12, 20}) {
      demo.measure(
          demo.cell(fmt::format("C{}-topk-K{}", C, K), fmt::format("{}, top-2, K {}", many, K),
                    "topk", {{"concepts", C}, {"experts", K}}),
          {kFloor + 0.12 * std::sqrt(C) + 0.3 * std::exp(-K / (2.0 + 0.3 * C)), double(K), 2, 0.9,
           0.1},
          0);
    }
    for (const std::string policy : {"mass-reference", "mass-paper", "dynmoe"}) {
      StudyCell& cell = demo.cell(fmt::format("C{}-{}", C, policy),
                                  fmt::format("{}, {}", many, policy), policy, {{"concepts", C}});
      demo.measure(cell,
                   {kFloor + 0.12 * std::sqrt(C) + 0.05, policy == "dynmoe" ? 6 + 0.4 * C : 4.6,
                    2.4, 0.5, 0.1},
                   0.6);
    }
  }
  for (StudyCell& cell : demo.results_.cells) {
    for (StudyRun& run : cell.runs) run.measures["excess"] = run.measures["test_loss"] - kFloor;
  }
  for (const int C : {1, 2, 3, 5, 10}) {
    StudyCell& cell =
        demo.cell(fmt::format("C{}-needed", C),
                  fmt::format("{} concepts: the smallest pool within 0.01", C), "needed",
                  {{"concepts", C},
                   {"experts_needed", C < 3    ? 8
                                      : C < 10 ? 12
                                               : 20}});
    cell.runs.clear();
  }
  return demo.finish({}, "");
}

}  // namespace

StudyResults demo_study(const std::string& study, int64_t seeds) {
  if (study == "paper") return paper(seeds);
  if (study == "ablate") return ablate(seeds);
  if (study == "drift") return drift(seeds);
  if (study == "noise") return noise(seeds);
  if (study == "overhead") return overhead(seeds);
  if (study == "need") return need(seeds);
  fail("demo", "study: got {}", study);
}

}  // namespace offshoot::testing
