// Which checkpoints stay, and that each of them is a whole file for itself.
#include "engine/retention.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <set>

#include "engine/checkpoint_file.h"
#include "tests/engine/file_test.h"

namespace offshoot {
namespace {

namespace fs = std::filesystem;

using Names = std::set<std::string>;

class RetentionTest : public FileTest {
 protected:
  void save(int64_t step) {
    CheckpointWriter file(path("c.h5"), {step, 1});
    file.h5().write("model/a", {1}, std::vector<int64_t>{step});
    file.commit();
  }
  int64_t step_of(const std::string& name) { return CheckpointReader(path(name)).head().step; }
  Names names() const {
    Names all;
    for (const auto& entry : fs::directory_iterator(folder_)) all.insert(entry.path().filename());
    return all;
  }
};

TEST_F(RetentionTest, KeepsTheNewest) {
  for (int64_t step = 10; step <= 50; step += 10) {
    save(step);
    keep_newest(path("c.h5"), step, 2);
  }
  EXPECT_EQ(names(), (Names{"c.h5", "c-step00000040.h5", "c-step00000050.h5"}));
  EXPECT_EQ(step_of("c-step00000040.h5"), 40);
  EXPECT_EQ(step_of("c-step00000050.h5"), 50);
  EXPECT_EQ(step_of("c.h5"), 50);
}

// The room of one save is taken once.
TEST_F(RetentionTest, NamesAreOneFile) {
  save(10);
  keep_newest(path("c.h5"), 10, 1);
  link_file(path("c.h5"), path("best.h5"));
  EXPECT_EQ(fs::hard_link_count(path("c.h5")), 3);
  link_file(path("c.h5"), path("best.h5"));  // once more
  EXPECT_EQ(names(), (Names{"best.h5", "c-step00000010.h5", "c.h5"}));
}

TEST_F(RetentionTest, ANameOutlivesTheOthers) {
  save(10);
  keep_newest(path("c.h5"), 10, 1);
  link_file(path("c.h5"), path("best.h5"));
  save(20);
  keep_newest(path("c.h5"), 20, 1);
  EXPECT_EQ(names(), (Names{"best.h5", "c-step00000020.h5", "c.h5"}));
  EXPECT_EQ(step_of("best.h5"), 10);
  link_file(path("c.h5"), path("best.h5"));
  EXPECT_EQ(step_of("best.h5"), 20);
}

// A run that went back to step 20 keeps what it saves, not the steps that it left.
TEST_F(RetentionTest, GoesByTimeNotByStep) {
  for (const int64_t step : {80, 90, 20}) {
    ::usleep(20'000);  // files' times are coarse
    save(step);
    keep_newest(path("c.h5"), step, 2);
  }
  EXPECT_EQ(names(), (Names{"c.h5", "c-step00000020.h5", "c-step00000090.h5"}));
}

// Files whose time lies ahead, by another machine's clock, say, do not push out the one just saved.
TEST_F(RetentionTest, TheOneJustSavedStays) {
  for (const int64_t step : {80, 90}) {
    save(step);
    keep_newest(path("c.h5"), step, 2);
    fs::last_write_time(path("c.h5"), fs::file_time_type::clock::now() + std::chrono::hours(step));
  }
  save(20);
  keep_newest(path("c.h5"), 20, 2);
  EXPECT_EQ(names(), (Names{"c.h5", "c-step00000020.h5", "c-step00000090.h5"}));
}

TEST_F(RetentionTest, NamesOfTheDeadGo) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  save(1);
  const std::string of_dead = fmt::format(".tmp-{}-link", child);
  for (const std::string name : {".c-step00000009.h5", ".c.h5", ".best.h5"}) {
    put_bytes(path(name + of_dead), "x");
  }
  const std::string living = fmt::format(".best.h5.tmp-{}-link", ::getppid());
  put_bytes(path(living), "x");
  keep_newest(path("c.h5"), 1, 1);
  link_file(path("c.h5"), path("best.h5"));
  EXPECT_EQ(names(), (Names{living, "best.h5", "c-step00000001.h5", "c.h5"}));
}

TEST_F(RetentionTest, AllNumberedNamesCanGo) {
  save(1);
  keep_newest(path("c.h5"), 1, 3);
  put_bytes(path("c-2.h5"), "x");
  remove_numbered(path("c.h5"));
  check_links(folder_);
  EXPECT_EQ(names(), (Names{"c-2.h5", "c.h5"}));
}

TEST_F(RetentionTest, RemovesNothingElse) {
  const Names others{"c-1.h5",        "c-0000001x.h5",  "c-00000001.h6",
                     "d-00000001.h5", "c-00000001.h5~", "c-12345678"};
  for (const std::string& name : others) put_bytes(path(name), "x");
  fs::create_directory(path("c-step00000002.h5"));
  for (const int64_t step : {5, 6}) {
    save(step);
    keep_newest(path("c.h5"), step, 1);
  }
  Names expected = others;
  expected.insert({"c.h5", "c-step00000006.h5", "c-step00000002.h5"});
  EXPECT_EQ(names(), expected);
}

TEST_F(RetentionTest, ErrorsNameTheFile) {
  std::string error = error_of([&] { link_file(path("none"), path("best.h5")); });
  EXPECT_TRUE(contains(error, fmt::format("{}: cannot have {} as a second name: No such file",
                                          path("none"), path("best.h5"))))
      << error;
  save(1);
  fs::create_directory(path("best.h5"));
  error = error_of([&] { link_file(path("c.h5"), path("best.h5")); });
  EXPECT_TRUE(contains(error, path("best.h5") + ": cannot be made a second name")) << error;
  EXPECT_EQ(names(), (Names{"best.h5", "c.h5"}));
  EXPECT_TRUE(contains(error_of([&] { keep_newest(path("c.h5"), 1, 0); }), "got 0"));
}

TEST_F(RetentionTest, NumbersHaveEightDigitsOrMore) {
  EXPECT_EQ(numbered_name("out/checkpoint.h5", 250), "out/checkpoint-step00000250.h5");
  EXPECT_EQ(numbered_name("c.h5", 1234567890), "c-step1234567890.h5");
}

}  // namespace
}  // namespace offshoot
