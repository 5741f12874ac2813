// A file of format version 1, kept for ever: whatever comes after must load it.
#include <gtest/gtest.h>

#include "tests/engine/small_run.h"

namespace offshoot {
namespace {

using namespace testing;

constexpr const char* kFile = OFFSHOOT_TEST_FOLDER "/checkpoint_v1.h5";

// How the file was made. Not run again: a later version gets a file and a test of its own.
TEST(Version1Test, DISABLED_WritesTheFile) {
  SmallRun run;
  live(run);
  save(kFile, run);
}

TEST(Version1Test, Loads) {
  const CheckpointReader file(kFile);
  EXPECT_EQ(file.version(), 1);
  EXPECT_TRUE(file.verified());
  EXPECT_EQ(file.head(), (CheckpointHead{9, 42}));
  EXPECT_EQ(read_configuration(file), "{\"experts\": 2}");

  SmallRun run(1000, 5);
  load_checkpoint(file, run, run.parts());
  EXPECT_EQ(run.pool.ids(), (std::vector<int64_t>{0, 3, 2}));
  EXPECT_EQ(run.pool.next_id(), 4);
  const auto is = [](const Tensor& tensor, size_t at, float first, size_t n) {
    return tensor.elements<float>()[at] == element(first, n);
  };
  for (size_t i = 0; i < 12; ++i) EXPECT_TRUE(is(run.head.value(), i, 0, i));
  // Expert 3 is a copy of 0, and 2 of 1.
  ASSERT_EQ(run.fc1.value().shape(), (Shape{3, 2, 3}));
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_TRUE(is(run.fc1.value(), i, 100, i));
    EXPECT_TRUE(is(run.fc1.value(), 6 + i, 100, i));
    EXPECT_TRUE(is(run.fc1.value(), 12 + i, 100, 6 + i));
    EXPECT_TRUE(is(run.exp_avg.tensor(), i, 200, i));
    EXPECT_TRUE(is(run.exp_avg.tensor(), 6 + i, 200, i));
    EXPECT_TRUE(is(run.exp_avg.tensor(), 12 + i, 200, 6 + i));
  }
  ASSERT_EQ(run.pool.log().size(), 3u);
  const Edit& born = run.pool.log()[0];
  EXPECT_EQ(born.kind, RowChange::Kind::duplicate);
  EXPECT_EQ(born.source_id, 1);
  EXPECT_EQ(born.new_id, 2);
  EXPECT_EQ(born.note.step, 5);
  EXPECT_EQ(born.note.policy, "mass");
  const std::vector<std::pair<std::string, double>> noted{{"p_value", 0.004}, {"cosine", -0.125}};
  EXPECT_EQ(born.note.values, noted);
  const Edit& gone = run.pool.log()[2];
  EXPECT_EQ(gone.kind, RowChange::Kind::remove);
  EXPECT_EQ(gone.source_id, 1);
  EXPECT_EQ(gone.note.step, 9);
  EXPECT_EQ(gone.note.policy, "user");

  EXPECT_EQ(run.position, 1'234'567'890'123);
  EXPECT_TRUE(run.stopped);
  EXPECT_EQ(run.rate, 0.1);
  EXPECT_EQ(run.losses, (std::vector<double>{2.5, 1.25}));
  EXPECT_EQ(run.note, "größer");
  EXPECT_EQ(std::get<0>(run.events[0].values), (std::vector<int64_t>{5}));
  EXPECT_EQ(std::get<1>(run.events[1].values), (std::vector<double>{0.5}));
}

}  // namespace
}  // namespace offshoot
