// Graphs: recorded once, replayed over memory that grows.
#include "cuda/graph.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "cuda/error.h"
#include "tests/cuda/device_test.h"
#include "tests/cuda/row_kernels.h"

namespace offshoot::cuda {
namespace {

using GraphCuda = DeviceTest;

constexpr int64_t kColumns = 5;

std::vector<float> numbered_rows(int64_t rows, float times) {
  std::vector<float> numbers;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < kColumns; ++column) {
      numbers.push_back(times * static_cast<float>(row + 1));
    }
  }
  return numbers;
}

TEST_F(GraphCuda, CaptureRunsNothingAndReplaysRunAll) {
  const Committed x(4096), rows(8);
  upload(rows.data(), std::vector<int64_t>{7});
  fill_bytes(x.data(), 0, 4096, kDevice);
  Graph graph = Graph::capture(kDevice, [&] {
    number_rows(x.as<float>(), rows.as<int64_t>(), kColumns, use(kDevice));
    number_rows(x.as<float>(), rows.as<int64_t>(), kColumns, use(kDevice));
  });
  EXPECT_EQ(download(x.as<float>(), 7 * kColumns), numbered_rows(7, 0.0f));
  graph.replay();
  graph.replay();
  EXPECT_EQ(download(x.as<float>(), 7 * kColumns), numbered_rows(7, 4.0f));

  Graph moved = std::move(graph);
  moved.replay();
  EXPECT_EQ(download(x.as<float>(), 7 * kColumns), numbered_rows(7, 6.0f));
  const int64_t before = synchronizations();
  for (int i = 0; i < 5; ++i) moved.replay();
  EXPECT_EQ(synchronizations(), before);
}

TEST_F(GraphCuda, ReplaysSeeRowsThatGrewAfterTheCapture) {
  AddressSpace x(int64_t{1} << 32, kDevice);
  const Committed rows(8);
  const int64_t row_bytes = kColumns * static_cast<int64_t>(sizeof(float));
  const int64_t few = x.granule_bytes() / row_bytes / 2, many = 2 * few + 1000;
  auto* numbers = reinterpret_cast<float*>(x.data());
  ASSERT_EQ(x.commit(few * row_bytes), "");
  const int64_t committed = x.committed_bytes();
  fill_bytes(numbers, 0, few * row_bytes, kDevice);
  upload(rows.data(), std::vector<int64_t>{few});
  Graph graph = Graph::capture(
      kDevice, [&] { number_rows(numbers, rows.as<int64_t>(), kColumns, use(kDevice)); });
  graph.replay();

  ASSERT_EQ(x.commit(many * row_bytes), "");
  ASSERT_GT(x.committed_bytes(), committed) << "the growth must need new memory";
  EXPECT_TRUE(download(numbers, few * kColumns) == numbered_rows(few, 1.0f));
  fill_bytes(numbers, 0, many * row_bytes, kDevice);
  upload(rows.data(), std::vector<int64_t>{many});
  graph.replay();
  EXPECT_TRUE(download(numbers, many * kColumns) == numbered_rows(many, 1.0f));

  // And shrinks again: rows that are gone are not touched.
  upload(rows.data(), std::vector<int64_t>{few});
  x.release_beyond(few * row_bytes);
  EXPECT_EQ(x.committed_bytes(), committed);
  graph.replay();
  EXPECT_TRUE(download(numbers, few * kColumns) == numbered_rows(few, 2.0f));
}

TEST_F(GraphCuda, HoldsFillsAndCopiesOnTheDevice) {
  const Committed memory(8);
  upload(memory.data(), std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 7, 8});
  Graph graph = Graph::capture(kDevice, [&] {
    copy_on_device(memory.data() + 4, memory.data(), 4, kDevice);
    fill_bytes(memory.data(), 9, 2, kDevice);
  });
  graph.replay();
  const std::vector<uint8_t> expected = {9, 9, 3, 4, 1, 2, 3, 4};
  EXPECT_EQ(download(memory.as<uint8_t>(), 8), expected);
}

TEST_F(GraphCuda, AnEmptyGraphReplaysToNothing) {
  Graph graph = Graph::capture(kDevice, [] {});
  graph.replay();
  synchronize(kDevice);
}

TEST_F(GraphCuda, RefusesWhatCannotBeRecorded) {
  const Committed memory(8);
  fill_bytes(memory.data(), 0, 8, kDevice);
  int64_t number = 0;
  Event event(kDevice);
  std::optional<Graph> other = Graph::capture(kDevice, [] {});
  const std::pair<const char*, std::function<void()>> cases[] = {
      {"synchronize", [] { synchronize(kDevice); }},
      {"copy_to_device", [&] { copy_to_device(memory.data(), &number, 8, kDevice); }},
      {"copy_to_host", [&] { copy_to_host(&number, memory.data(), 8, kDevice); }},
      {"HostCopy", [&] { HostCopy(memory.data(), 8, kDevice); }},
      {"Event::record", [&] { event.record(); }},
      {"Event::done", [&] { event.wait(); }},
      {"Graph::replay", [&] { other->replay(); }},
      {"Graph::capture", [] { Graph::capture(kDevice, [] {}); }}};
  for (const auto& [what, work] : cases) {
    try {
      Graph::capture(kDevice, work);
      FAIL() << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), "[cuda] " + std::string(what) + " while a graph is captured");
    }
    // The device and the next capture are none the worse.
    synchronize(kDevice);
    Graph::capture(kDevice, [&] { fill_bytes(memory.data(), 1, 8, kDevice); }).replay();
  }
  EXPECT_EQ(download(memory.as<uint8_t>(), 1)[0], 1);
}

TEST_F(GraphCuda, PassesOnWhatTheWorkThrows) {
  EXPECT_THROW(Graph::capture(kDevice, [] { throw std::logic_error("no"); }), std::logic_error);
  EXPECT_FALSE(detail::capturing());
  synchronize(kDevice);
}

TEST_F(GraphCuda, ACapturingThreadKeepsItsMemory) {
  AddressSpace space(1, kDevice);
  ASSERT_EQ(space.commit(1), "");
  Graph::capture(kDevice, [&] { space.release_beyond(0); });
  EXPECT_EQ(space.committed_bytes(), space.granule_bytes());
  space.release_beyond(0);
  EXPECT_EQ(space.committed_bytes(), 0);
}

}  // namespace
}  // namespace offshoot::cuda
