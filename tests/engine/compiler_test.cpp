// What the compiler must not get wrong on the processor at hand (see OffshootTargets.cmake).
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace offshoot {
namespace {

[[gnu::noipa]] int64_t last_of(const std::vector<int64_t>& values) { return values.back(); }

TEST(Compiler, KeepsTheLastOfFourConstants) {
  EXPECT_EQ(last_of(std::vector<int64_t>{7, 7, 7, 0}), 0);
}

}  // namespace
}  // namespace offshoot
