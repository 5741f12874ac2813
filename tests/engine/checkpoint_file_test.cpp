// Checkpoint files: whole or absent, and refused when anything about them is wrong.
#include "engine/checkpoint_file.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "engine/random.h"
#include "tests/engine/file_test.h"

namespace offshoot {
namespace {

namespace fs = std::filesystem;

std::vector<float> weights(int64_t count, uint64_t seed) {
  Random random(seed, 1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(random.normal());
  return values;
}

// Returns the number of calls made. `size` elements, in small and large datasets.
int64_t save(const std::string& path, int64_t step, int64_t size = 5000,
             AtomicFile::Fault fault = {}) {
  CheckpointWriter file(path, {step, 42}, fault);
  file.h5().write("model/a", {size}, weights(size, 1));
  for (int i = 0; i < 10; ++i) {
    file.h5().write(fmt::format("optimizer/{}/m", i), {7}, weights(7, static_cast<uint64_t>(i)));
  }
  file.h5().write("model/rows", {2, 16384}, weights(2 * 16384, 2), H5Rows::growing);
  file.commit();
  return file.calls();
}

std::string load_error(const std::string& path) {
  return error_of([&] { CheckpointReader file(path); });
}

class CheckpointFileTest : public FileTest {};

TEST_F(CheckpointFileTest, SavesAndLoads) {
  save(path("c.h5"), 17);
  const CheckpointReader file(path("c.h5"));
  EXPECT_EQ(file.head(), (CheckpointHead{17, 42}));
  EXPECT_EQ(file.version(), kCheckpointVersion);
  EXPECT_TRUE(file.verified());
  EXPECT_EQ(file.h5().read<float>("model/a"), weights(5000, 1));
  EXPECT_EQ(file.h5().text_attribute("/", "format"), "offshoot-checkpoint");
  EXPECT_EQ(files(), 1);
  EXPECT_TRUE(bytes_of(path("c.h5")).starts_with("OFFSHOOT checkpoint\nversion 1\nbytes "));
}

TEST_F(CheckpointFileTest, HoldsLittleBesideTheState) {
  save(path("c.h5"), 1, 1'000'000);
  const double state = 4.0 * (1'000'000 + 70 + 2 * 16384);
  EXPECT_LT(static_cast<double>(fs::file_size(path("c.h5"))), 1.02 * state);
}

TEST_F(CheckpointFileTest, EveryTruncationIsFound) {
  save(path("c.h5"), 1);
  const std::string whole = bytes_of(path("c.h5"));
  for (size_t length = 0; length < whole.size(); length += length < 600 ? 37 : 4096) {
    put_bytes(path("t.h5"), std::string_view(whole).substr(0, length));
    const std::string error = load_error(path("t.h5"));
    EXPECT_TRUE(contains(error, length < 20 ? "is not a checkpoint" : "is truncated")) << error;
    EXPECT_TRUE(contains(error, path("t.h5"))) << error;
  }
  put_bytes(path("t.h5"), whole + "x");
  EXPECT_TRUE(contains(load_error(path("t.h5")), "is damaged"));
}

TEST_F(CheckpointFileTest, EveryFlippedByteIsFound) {
  save(path("c.h5"), 1);
  std::string bytes = bytes_of(path("c.h5"));
  Random random(3, 3);
  for (size_t i = 0; i < 512 + 100; ++i) {
    const auto at = i < 512 ? i : static_cast<size_t>(random.below(std::ssize(bytes)));
    const auto bit = static_cast<char>(1 << random.below(8));
    bytes[at] = static_cast<char>(bytes[at] ^ bit);
    put_bytes(path("f.h5"), bytes);
    EXPECT_NE(load_error(path("f.h5")), "") << at;
    bytes[at] = static_cast<char>(bytes[at] ^ bit);
  }
  put_bytes(path("f.h5"), bytes);
  EXPECT_EQ(load_error(path("f.h5")), "");
}

TEST_F(CheckpointFileTest, RefusesTheFutureAndOtherKinds) {
  save(path("c.h5"), 1);
  std::string bytes = bytes_of(path("c.h5"));
  bytes.replace(bytes.find("version 1"), 9, "version 7");
  put_bytes(path("future.h5"), bytes);
  EXPECT_TRUE(contains(load_error(path("future.h5")), "version: got 7, expected at most 1"));

  const auto write = [&](const std::string& name, std::string_view format, int64_t version) {
    AtomicFile file(path(name));
    H5Writer h5(file);
    h5.set_attribute("/", "format", format);
    h5.set_attribute("/", "format_version", version);
    h5.close();
    file.commit();
  };
  write("corpus.h5", "ginc-corpus", 1);
  EXPECT_TRUE(contains(load_error(path("corpus.h5")), "is an HDF5 file of another kind"));
  write("future.h5", "offshoot-checkpoint", 2);
  EXPECT_TRUE(contains(load_error(path("future.h5")), "version: got 2, expected at most 1"));
  write("no-step.h5", "offshoot-checkpoint", 1);
  EXPECT_TRUE(contains(load_error(path("no-step.h5")), "attribute step is missing"));

  put_bytes(path("text.h5"), "no checkpoint");
  EXPECT_TRUE(contains(load_error(path("text.h5")), "is not a checkpoint"));
  EXPECT_TRUE(contains(load_error(path("none.h5")), "No such file or directory (ENOENT)"));
  EXPECT_TRUE(contains(load_error(folder_.string()), "is not a regular file"));
}

TEST_F(CheckpointFileTest, OpensUnverified) {
  save(path("c.h5"), 17);
  std::string bytes = bytes_of(path("c.h5"));
  const float first = weights(5000, 1).front();
  const size_t at = bytes.find(std::string_view(reinterpret_cast<const char*>(&first), 4));
  ASSERT_NE(at, std::string::npos);
  bytes[at] ^= 1;
  put_bytes(path("f.h5"), bytes);
  EXPECT_NE(load_error(path("f.h5")), "");
  const auto open = [&](const std::string& name) {
    return CheckpointReader::unverified(InputFile(path(name)));
  };
  const CheckpointReader file = open("f.h5");
  EXPECT_EQ(file.head(), (CheckpointHead{17, 42}));
  EXPECT_FALSE(file.verified());
  // Each dataset's own hash goes on to hold.
  EXPECT_TRUE(contains(error_of([&] { file.h5().read<float>("model/a"); }), "model/a: is damaged"));
  EXPECT_EQ(file.h5().read<float>("optimizer/3/m"), weights(7, 3));

  put_bytes(path("t.h5"), bytes.substr(0, bytes.size() - 1));
  EXPECT_TRUE(contains(error_of([&] { open("t.h5"); }), "is truncated"));
  put_bytes(path("foreign.h5"), bytes.substr(512));
  EXPECT_EQ(open("foreign.h5").head().step, 17);
  put_bytes(path("text.h5"), "no checkpoint");
  EXPECT_TRUE(contains(error_of([&] { open("text.h5"); }), "is not a checkpoint"));
}

// HDF5 finds itself at home when the user block is cut off: what h5unjam and h5py leave.
TEST_F(CheckpointFileTest, ReadsWhatOtherToolsRewrote) {
  save(path("c.h5"), 5);
  const std::string bytes = bytes_of(path("c.h5")).substr(512);
  put_bytes(path("foreign.h5"), bytes);
  const CheckpointReader file(path("foreign.h5"));
  EXPECT_FALSE(file.verified());
  EXPECT_EQ(file.head().step, 5);
  EXPECT_EQ(file.h5().read<float>("model/a"), weights(5000, 1));

  put_bytes(path("cut.h5"), bytes.substr(0, bytes.size() / 2));
  EXPECT_NE(load_error(path("cut.h5")), "");
  if (shell("h5repack -V > /dev/null 2>&1") != 0) GTEST_SKIP() << "h5repack is not installed";
  ASSERT_EQ(shell("h5repack -f GZIP=1 c.h5 repacked.h5"), 0);
  EXPECT_NE(load_error(path("repacked.h5")), "");  // it keeps the user block
  ASSERT_EQ(shell("tail -c +513 repacked.h5 > stripped.h5"), 0);
  EXPECT_EQ(CheckpointReader(path("stripped.h5")).h5().read<float>("model/a"), weights(5000, 1));
}

// Every system call of a save fails once: the old file stays, no other is left, nothing crashes,
// here or at exit (in a child, whose exit handlers run).
TEST_F(CheckpointFileTest, AFullDiskAtAnyCallLosesNothing) {
  const pid_t child = ::fork();
  if (child == 0) {
    save(path("c.h5"), 1);
    const std::string before = bytes_of(path("c.h5"));
    const int64_t calls = save(path("other.h5"), 2);
    fs::remove(path("other.h5"));
    bool good = calls > 10;
    for (int64_t call = 0; call < calls; ++call) {
      const std::string error = error_of([&] { save(path("c.h5"), 2, 5000, {call, ENOSPC}); });
      const bool last = call == calls - 1;  // forces the folder, after the renaming
      good = good && contains(error, "No space left on device (ENOSPC)") && files() == 1 &&
             (bytes_of(path("c.h5")) == before) == !last &&
             CheckpointReader(path("c.h5")).head().step == (last ? 2 : 1);
    }
    std::exit(good ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(CheckpointFileTest, ASmallTmpfsLosesNothing) {
  const fs::path disk = folder_ / "disk";
  fs::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "mounting is not allowed";
  }
  const std::string file = disk / "c.h5";
  save(file, 1, 50'000);
  const std::string before = bytes_of(file);
  const std::string error = error_of([&] { save(file, 2, 200'000); });
  const std::string after = bytes_of(file);
  const auto left = std::distance(fs::directory_iterator(disk), fs::directory_iterator());
  EXPECT_EQ(::umount(disk.c_str()), 0);
  EXPECT_TRUE(contains(error, "No space left on device (ENOSPC)")) << error;
  EXPECT_EQ(before, after);
  EXPECT_EQ(left, 1);
}

TEST_F(CheckpointFileTest, AReadOnlyFolderIsAnError) {
  save(path("c.h5"), 1);
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  // Root may write everywhere; nobody may not.
  const bool root = ::geteuid() == 0;
  if (root) {
    fs::permissions(folder_, fs::perms::others_read | fs::perms::others_exec);
    ASSERT_EQ(::seteuid(65534), 0);
  }
  const std::string error = error_of([&] { save(path("c.h5"), 2); });
  ASSERT_TRUE(!root || ::seteuid(0) == 0);
  fs::permissions(folder_, fs::perms::owner_all);
  EXPECT_TRUE(contains(error, path("c.h5"))) << error;
  EXPECT_TRUE(contains(error, "Permission denied (EACCES)")) << error;
  EXPECT_EQ(CheckpointReader(path("c.h5")).head().step, 1);
}

TEST_F(CheckpointFileTest, NamesWhatCannotBeSaved) {
  EXPECT_TRUE(contains(error_of([&] { save(path("no/such/c.h5"), 1); }), "(ENOENT)"));
  EXPECT_TRUE(contains(error_of([&] { save(folder_.string() + "/", 1); }), "is not a file name"));
  fs::create_directory(path("folder"));
  EXPECT_TRUE(contains(error_of([&] { save(path("folder"), 1); }), "is not a regular file"));
  EXPECT_TRUE(contains(error_of([&] { save("/dev/null", 1); }), "is not a regular file"));
}

// A killed saver's temporary file goes at the next save; a living one's, and other names', stay.
TEST_F(CheckpointFileTest, RemovesTheTemporaryFilesOfTheDead) {
  const pid_t child = ::fork();
  if (child == 0) {
    CheckpointWriter file(path("c.h5"), {1, 1});
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(files(), 1);
  put_bytes(path(".other.h5.tmp-1-0"), "x");
  put_bytes(path(".c.h5.tmpfile"), "x");
  {
    const CheckpointWriter living(path("c.h5"), {2, 1});
    EXPECT_EQ(files(), 3);
    save(path("c.h5"), 3);
    EXPECT_EQ(files(), 4);
  }
  EXPECT_EQ(files(), 3);
  EXPECT_EQ(CheckpointReader(path("c.h5")).head().step, 3);
}

// A reader keeps its file when a saver replaces it.
TEST_F(CheckpointFileTest, ReadsOnWhileReplaced) {
  save(path("c.h5"), 1);
  const CheckpointReader file(path("c.h5"));
  save(path("c.h5"), 2, 10);
  EXPECT_EQ(file.h5().read<float>("model/a"), weights(5000, 1));
  EXPECT_EQ(CheckpointReader(path("c.h5")).head().step, 2);
}

}  // namespace
}  // namespace offshoot
