// A small run with state of every kind, whose every number is known: a head of fixed shape, a
// growing pool with moments, and odds and ends.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/row_tensor.h"

namespace offshoot::testing {

// Number n of the tensor `first`: no two elements of the file are equal.
inline float element(float first, size_t n) { return first + 0.25f * static_cast<float>(n); }

inline Tensor counted(const Shape& shape, float first) {
  Tensor tensor(shape, DType::f32);
  const auto elements = tensor.elements<float>();
  for (size_t i = 0; i < elements.size(); ++i) elements[i] = element(first, i);
  return tensor;
}

struct SmallRun final : Module {
  explicit SmallRun(float first = 0, int64_t experts = 2)
      : pool("block.moe", experts),
        head("head.weight", counted({3, 4}, first)),
        fc1("block.moe.fc1.weight", counted({experts, 2, 3}, 100 + first), pool),
        exp_avg("exp_avg", {experts, 2, 3}, DType::f32, 8, NewRow::copy),
        membership(pool.join(exp_avg)) {
    copy_elements(counted({experts, 2, 3}, 200 + first), exp_avg.tensor());
  }
  void each_parameter(const ParameterVisitor& visit) override {
    visit(head);
    visit(fc1);
  }
  void each_growth_group(const GroupVisitor& visit) override { visit(pool); }

  std::vector<CheckpointPart> parts() {
    return {{"optimizer",
             [this](State& state) {
               state.tensor("block.moe.fc1.weight/exp_avg", exp_avg.tensor(), &pool);
             }},
            {"data", [this](State& state) {
               state.value("position", position);
               state.value("stopped", stopped);
               state.value("rate", rate);
               state.values("losses", losses);
               state.text("note", note);
               state.table("events", events);
             }}};
  }

  GrowthGroup pool;
  Parameter head, fc1;
  RowTensor exp_avg;
  GrowthGroup::Membership membership;
  int64_t position = 0;
  bool stopped = false;
  double rate = 0;
  std::vector<double> losses;
  std::string note;
  std::vector<H5Column> events{{"step", std::vector<int64_t>{}}, {"gain", std::vector<double>{}}};
};

// Two births, a death, and a value in every odd and end.
inline void live(SmallRun& run) {
  run.pool.duplicate(1, {5, "mass", {{"p_value", 0.004}, {"cosine", -0.125}}});
  run.pool.duplicate(0, {6, "mass", {{"p_value", 0.003}}});
  run.pool.remove(1, {9, "user", {{"gain", -0.5}}});
  run.position = 1'234'567'890'123;
  run.stopped = true;
  run.rate = 0.1;
  run.losses = {2.5, 1.25};
  run.note = "größer";
  run.events = {{"step", std::vector<int64_t>{5}}, {"gain", std::vector<double>{0.5}}};
}

inline void save(const std::string& path, SmallRun& run) {
  save_checkpoint(path, {{9, 42}, "{\"experts\": 2}", {{"engine_version", "0.1.0"}}}, run,
                  run.parts());
}

}  // namespace offshoot::testing
