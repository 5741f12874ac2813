// A corpus of checkpoints that are wrong: every one gives an error that names the file, changes
// nothing, and takes no more memory than the file justifies.
#include "tests/engine/broken_file.h"

#include <gtest/gtest.h>

#include "engine/child.h"
#include "engine/partial_load.h"
#include "tests/engine/file_test.h"
#include "tests/engine/small_run.h"

namespace offshoot {
namespace {

using namespace testing;

constexpr int kFlips = 120;

// A file of some 100 KB, so that it can be cut at several places.
std::string good_file(const std::string& path) {
  SmallRun run;
  live(run);
  for (int i = 0; i < 4000; ++i) run.losses.push_back(i);
  save(path, run);
  return bytes_of(path);
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::ranges::equal(a.elements<float>(), b.elements<float>());
}

// Loading some of it, too, takes all that it says, or changes nothing.
void expect_whole_or_untouched(const CheckpointReader& file) {
  SmallRun run(1000, 5);
  const SmallRun untouched(1000, 5);
  try {
    load_parameters(file, run, [](std::string_view) { return true; });
  } catch (const Error&) {
    if (!same(run.head.value(), untouched.head.value()) ||
        !same(run.fc1.value(), untouched.fc1.value()) || run.pool.ids() != untouched.pool.ids()) {
      throw std::logic_error("half loaded");  // the child dies of it
    }
  }
}

// What the corpus may end in: "error: TEXT", or "loaded" when what was wrong makes no difference.
std::string load(const std::string& path) {
  SmallRun expected, run(1000, 5);
  live(expected);
  std::string text;
  try {
    const CheckpointReader file(path);
    expect_whole_or_untouched(file);
    const bool configured = read_configuration(file) == "{\"experts\": 2}";
    load_checkpoint(file, run, run.parts());
    text = configured && same(run.head.value(), expected.head.value()) &&
                   same(run.fc1.value(), expected.fc1.value()) && run.note == expected.note &&
                   run.position == expected.position && run.losses.size() == 4002u
               ? "loaded"
               : "other values";
  } catch (const Error& error) {
    const SmallRun untouched(1000, 5);
    const bool changed = !same(run.head.value(), untouched.head.value()) ||
                         !same(run.fc1.value(), untouched.fc1.value()) || run.position != 0 ||
                         run.pool.ids() != untouched.pool.ids() || !run.pool.log().empty();
    text = fmt::format("{}: {}", changed ? "changed" : "error", error.what());
  }
  return text;
}

struct Count {
  int errors = 0;
  int loaded = 0;
};

class BrokenFileTest : public FileTest {
 protected:
  // `harmless`: it may as well be loaded, with the values of the good file.
  void expect_error(const BrokenFile& file, const std::string& bytes, bool harmless) {
    const std::string name = path("broken.h5");
    put_bytes(name, bytes);
    const ChildLimits limits{std::chrono::seconds(30),
                             (int64_t{64} << 20) + 16 * std::ssize(bytes)};
    const ChildEnd end = run_in_child(limits, [&] { return load(name); });
    ASSERT_EQ(end.kind, ChildEnd::Kind::returned) << file.name << ": signal " << end.signal;
    if (harmless && end.text == "loaded") {
      ++count_.loaded;
      return;
    }
    EXPECT_TRUE(end.text.starts_with("error: ")) << file.name << ": " << end.text;
    EXPECT_TRUE(contains(end.text, name)) << file.name << ": " << end.text;
    EXPECT_FALSE(contains(end.text, "\n") || contains(end.text, "\x1b")) << end.text;
    ++count_.errors;
  }
  ~BrokenFileTest() override {
    if (count_.errors > 0)
      std::printf("%d files gave errors, %d were loaded all the same\n", count_.errors,
                  count_.loaded);
  }

  Count count_;
};

TEST_F(BrokenFileTest, EditedWithoutAHash) {
  for (const BrokenFile& file : edited_files(good_file(path("c.h5")), path("edited.h5"))) {
    expect_error(file, bare(file.bytes), false);
  }
  EXPECT_GT(count_.errors, 95);
}

TEST_F(BrokenFileTest, EditedWithARightHash) {
  for (const BrokenFile& file : edited_files(good_file(path("c.h5")), path("edited.h5"))) {
    expect_error(file, sealed(file.bytes), false);
  }
  EXPECT_GT(count_.errors, 95);
}

TEST_F(BrokenFileTest, EditedWithTheHashOfBefore) {
  for (const BrokenFile& file : edited_files(good_file(path("c.h5")), path("edited.h5"))) {
    expect_error(file, file.bytes, false);
  }
}

TEST_F(BrokenFileTest, DamagedUnderItsHash) {
  for (const BrokenFile& file : damaged_files(good_file(path("c.h5")), kFlips)) {
    expect_error(file, file.bytes, false);
  }
  EXPECT_GT(count_.errors, kFlips + 15);
}

// Bytes between the datasets make no difference.
TEST_F(BrokenFileTest, DamagedWithoutAHash) {
  for (const BrokenFile& file : damaged_files(good_file(path("c.h5")), kFlips)) {
    expect_error(file, bare(file.bytes), true);
  }
  EXPECT_GT(count_.errors, kFlips / 3);
}

TEST_F(BrokenFileTest, DamagedWithARightHash) {
  for (const BrokenFile& file : damaged_files(good_file(path("c.h5")), kFlips)) {
    expect_error(file, sealed(file.bytes), true);
  }
  EXPECT_GT(count_.errors, kFlips / 3);
}

// The corpus is wrong, not the test: what it starts from loads.
TEST_F(BrokenFileTest, TheGoodFileLoads) {
  const std::string bytes = good_file(path("c.h5"));
  for (const std::string& good : {bytes, sealed(bytes), bare(bytes)}) {
    put_bytes(path("good.h5"), good);
    EXPECT_EQ(load(path("good.h5")), "loaded");
  }
  EXPECT_EQ(sealed(bytes), bytes);
}

}  // namespace
}  // namespace offshoot
