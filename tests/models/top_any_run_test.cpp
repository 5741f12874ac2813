// Top-any routing whose experts come and go, made to by hand, against PyTorch.
#include "tests/support/top_any_run.h"

#include <algorithm>
#include <cmath>

namespace offshoot {
namespace {

class ByHand : public testing::TopAnyRun {
 protected:
  // What a policy does.
  void adapt(int64_t step) override {
    if (step != setting("adapting_step")) return;
    if (setting("removed_row") >= 0) layer_.group().remove(setting("removed_row"));
    if (setting("added") == 0) return;
    layer_.group().append(1, [this](std::string_view member, const Tensor& rows) {
      const std::string fresh = fmt::format("fresh/{}", member);
      if (has(fresh)) copy_elements(golden(fresh).view(rows.shape()), rows);
      if (member != "gate.weight") return;
      const Tensor sum = golden("unrouted");
      double square = 0;
      for (const double v : sum.elements<double>()) square += v * v;
      for (int64_t d = 0; d < rows.size(); ++d) {
        rows.data<double>()[d] = sum.data<double>()[d] / std::sqrt(square);
      }
    });
  }
};

TEST_P(ByHand, FollowsPyTorch) { follow(); }

INSTANTIATE_TEST_SUITE_P(Cases, ByHand, ::testing::Values("add", "remove", "remove_and_add"));

}  // namespace
}  // namespace offshoot
