// The order in which a save reaches the disk. A kill leaves the kernel's page cache as it is, so
// only the calls themselves show what a power cut would leave: they are intercepted here.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "engine/checkpoint_file.h"
#include "engine/retention.h"
#include "tests/engine/file_test.h"

namespace {

enum class Failure { none, fsync_of_file, fsync_of_folder, rename };

struct Calls {
  bool watched = false;
  Failure failure = Failure::none;
  std::vector<std::string> log;
};
Calls calls;

bool is_folder(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}

// The library's own function of that name.
template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

void note(const std::string& call) {
  // Equal ones in a row once.
  if (calls.watched && (calls.log.empty() || calls.log.back() != call)) calls.log.push_back(call);
}

int failed(Failure what) {
  if (!calls.watched || calls.failure != what) return 0;
  errno = EIO;
  return -1;
}

}  // namespace

// In place of the C library's, for the whole program.
extern "C" {

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  note("write");
  return next<decltype(pwrite)>("pwrite")(fd, bytes, count, offset);
}

int ftruncate(int fd, off_t size) noexcept {
  note("write");
  return next<int(int, off_t)>("ftruncate")(fd, size);
}

int fsync(int fd) {
  const bool folder = is_folder(fd);
  note(folder ? "fsync folder" : "fsync file");
  if (failed(folder ? Failure::fsync_of_folder : Failure::fsync_of_file) != 0) return -1;
  return next<decltype(fsync)>("fsync")(fd);
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  note("rename");
  if (failed(Failure::rename) != 0) return -1;
  return next<int(int, const char*, int, const char*)>("renameat")(from_folder, from, to_folder,
                                                                   to);
}

}  // extern "C"

namespace offshoot {
namespace {

// Returns the error's text.
std::string save(const std::string& path, int64_t step, Failure failure = Failure::none) {
  calls = {true, failure, {}};
  const std::string error = error_of([&] {
    CheckpointWriter file(path, {step, 1});
    file.h5().write("model/values", {100'000},
                    std::vector<double>(100'000, static_cast<double>(step)));
    file.commit();
  });
  calls.watched = false;
  return error;
}

class SystemCallsTest : public FileTest {};

TEST_F(SystemCallsTest, WritesForcesRenamesForcesTheFolder) {
  for (int64_t step = 1; step <= 2; ++step) {  // a new file, and one in place of another
    EXPECT_EQ(save(path("c.h5"), step), "");
    EXPECT_EQ(calls.log,
              (std::vector<std::string>{"write", "fsync file", "rename", "fsync folder"}));
  }
}

TEST_F(SystemCallsTest, ALinkForcesTheFolder) {
  ASSERT_EQ(save(path("c.h5"), 1), "");
  calls = {true, Failure::none, {}};
  link_file(path("c.h5"), path("best.h5"));
  calls.watched = false;
  EXPECT_EQ(calls.log, (std::vector<std::string>{"fsync folder"}));
  calls = {true, Failure::fsync_of_folder, {}};
  const std::string error = error_of([&] { link_file(path("c.h5"), path("best.h5")); });
  calls.watched = false;
  EXPECT_TRUE(contains(error, "cannot be forced to the disk")) << error;
}

TEST_F(SystemCallsTest, AnErrorOfFsyncKeepsTheOldFile) {
  ASSERT_EQ(save(path("c.h5"), 1), "");
  const std::string before = bytes_of(path("c.h5"));
  const std::string error = save(path("c.h5"), 2, Failure::fsync_of_file);
  EXPECT_TRUE(contains(error, "cannot be forced to the disk: Input/output error (EIO)")) << error;
  EXPECT_TRUE(contains(error, path("c.h5"))) << error;
  EXPECT_EQ(calls.log, (std::vector<std::string>{"write", "fsync file"}));  // and no rename
  EXPECT_EQ(bytes_of(path("c.h5")), before);
  EXPECT_EQ(files(), 1);
}

TEST_F(SystemCallsTest, AnErrorOfRenameKeepsTheOldFile) {
  ASSERT_EQ(save(path("c.h5"), 1), "");
  const std::string before = bytes_of(path("c.h5"));
  EXPECT_TRUE(contains(save(path("c.h5"), 2, Failure::rename), "(EIO)"));
  EXPECT_EQ(bytes_of(path("c.h5")), before);
  EXPECT_EQ(files(), 1);
}

TEST_F(SystemCallsTest, AnErrorOfTheFoldersFsyncSaysThatTheFileIsInPlace) {
  const std::string error = save(path("c.h5"), 2, Failure::fsync_of_folder);
  EXPECT_TRUE(contains(error, "is in place, but its folder cannot be forced")) << error;
  EXPECT_EQ(CheckpointReader(path("c.h5")).head().step, 2);
  EXPECT_EQ(files(), 1);
}

}  // namespace
}  // namespace offshoot
