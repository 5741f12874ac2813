// A program that saves without a pause is killed at random moments: what is there then is whole.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "engine/checkpoint_file.h"
#include "engine/random.h"
#include "engine/retention.h"
#include "tests/engine/file_test.h"

namespace offshoot {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kElements = 100'000;

// Differ from step to step, in every element.
std::vector<int64_t> values_of(int64_t step) {
  std::vector<int64_t> values(static_cast<size_t>(kElements));
  for (size_t i = 0; i < values.size(); ++i) values[i] = step * kElements + static_cast<int64_t>(i);
  return values;
}

void save(const std::string& path, int64_t step) {
  CheckpointWriter file(path, {step, 1});
  file.h5().write("model/values", {kElements}, values_of(step));
  for (int i = 0; i < 20; ++i) {
    file.h5().write(fmt::format("optimizer/{}", i), {1}, std::vector<int64_t>{step});
  }
  file.commit();
}

int64_t number_of_kills() {
  const char* text = std::getenv("OFFSHOOT_KILLS");
  return text != nullptr ? std::atoll(text) : 20;
}

double seconds_of_a_save(const std::string& path) {
  const auto begin = std::chrono::steady_clock::now();
  for (int64_t step = 0; step < 5; ++step) save(path, step);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / 5;
}

class KillTest : public FileTest {};

TEST_F(KillTest, LeavesAWholeCheckpointAtAnyMoment) {
  const int64_t kills = number_of_kills();
  ASSERT_GT(kills, 0);
  const double save_seconds = seconds_of_a_save(path("c.h5"));
  const auto seed = static_cast<uint64_t>(::getpid());
  SCOPED_TRACE(fmt::format("seed {}", seed));
  Random random(seed, 1);
  int64_t last_step = 0;
  int64_t saved_meanwhile = 0, killed_in_a_save = 0;
  for (int64_t kill = 0; kill < kills; ++kill) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int64_t step = last_step + 1;; ++step) {
        save(path("c.h5"), step);
        keep_newest(path("c.h5"), step, 1);
      }
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(2 * save_seconds * random.uniform()));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    // Its hash is right, and it is of one save only.
    const CheckpointReader file(path("c.h5"));
    ASSERT_TRUE(file.verified());
    const int64_t step = file.head().step;
    ASSERT_GE(step, last_step);
    ASSERT_EQ(file.h5().read<int64_t>("model/values"), values_of(step));
    saved_meanwhile += step > last_step ? 1 : 0;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      const std::string name = entry.path().filename();
      if (name.starts_with('.')) {
        ++killed_in_a_save;
      } else {
        // A numbered name may be older: of the last save whose name was given in time.
        const CheckpointReader other(entry.path());
        EXPECT_TRUE(other.verified()) << name;
        EXPECT_EQ(other.h5().read<int64_t>("model/values"), values_of(other.head().step)) << name;
      }
    }
    last_step = step;
  }
  // The next save clears away what the dead left behind.
  save(path("c.h5"), last_step + 1);
  keep_newest(path("c.h5"), last_step + 1, 1);
  EXPECT_EQ(files(), 2);
  std::printf("%lld kills: %lld in the midst of a save, %lld after one was through\n",
              static_cast<long long>(kills), static_cast<long long>(killed_in_a_save),
              static_cast<long long>(saved_meanwhile));
  EXPECT_GT(killed_in_a_save, kills / 4);
  EXPECT_GT(saved_meanwhile, 0);
}

}  // namespace
}  // namespace offshoot
