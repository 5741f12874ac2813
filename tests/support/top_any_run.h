// Training with top-any routing in which an expert goes and one comes, step by step against PyTorch
// (tests/golden/top_any_run.py). Who makes the change is the test's.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "engine/json.h"
#include "models/layer_record.h"
#include "models/moe.h"
#include "optim/adam.h"
#include "tests/support/golden.h"

namespace offshoot::testing {

// Parameter: a case of the golden file.
class TopAnyRun : public ::testing::TestWithParam<std::string> {
 protected:
  TopAnyRun();

  // Every step, compared: loss, scores, gradients, values, moments.
  void follow();

  virtual void see(int64_t step, const LayerRecord& record) { (void)step, (void)record; }
  // Between backward and the optimizer's step.
  virtual void adapt(int64_t step) = 0;

  bool has(const std::string& leaf) const { return file_.contains(path(leaf)); }
  Tensor golden(const std::string& leaf) const { return file_.tensor(path(leaf)); }
  int64_t setting(const std::string& name) const { return config_.get<int64_t>(name); }
  void expect(const Tensor& got, const std::string& leaf) const;

 private:
  std::string path(const std::string& leaf) const {
    return "/adaptation/" + GetParam() + "/" + leaf;
  }
  void expect_parameters(const std::string& part);
  void expect_gradients(const std::string& part);
  void expect_moments(const std::string& part) const;
  void backward(int64_t step);

  const GoldenFile file_{"routers_models.h5"};
  const Json config_ = Json::parse(file_.config("/adaptation/" + GetParam()));

 protected:
  MoeLayer layer_{Scope{"", DType::f64, 0},
                  {.features = config_.get<int64_t>("features"),
                   .hidden = config_.get<int64_t>("hidden"),
                   .experts = config_.get<int64_t>("experts"),
                   .router = RouterKind::top_any,
                   .learn_temperature = config_.get<int64_t>("temperature") != 0}};
  AdamW optimizer_{decay_matrices_only(layer_, config_.get<double>("weight_decay"))};
};

}  // namespace offshoot::testing
