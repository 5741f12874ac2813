#include "engine/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "engine/error.h"
#include "engine/utf8.h"

namespace offshoot {
namespace {

constexpr std::string_view kRead = "read";
constexpr std::string_view kSave = "save";
constexpr int64_t kWritebackBytes = int64_t{32} << 20;

// Calls f(done) -> bytes moved until `bytes` are through, the end is met (0) or it fails (-1).
template <class F>
int64_t whole(int64_t bytes, F f) {
  int64_t done = 0;
  while (done < bytes) {
    const ssize_t moved = f(done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return -1;
    if (moved == 0) break;
    done += moved;
  }
  return done;
}

int64_t read_whole(int fd, int64_t offset, std::span<std::byte> bytes) {
  const auto size = static_cast<int64_t>(bytes.size());
  return whole(size, [&](int64_t done) {
    return ::pread(fd, bytes.data() + done, static_cast<size_t>(size - done), offset + done);
  });
}

}  // namespace

std::string describe_errno(int error) {
  const char* name = ::strerrorname_np(error);
  return fmt::format("{} ({})", std::generic_category().message(error),
                     name != nullptr ? name : std::to_string(error));
}

std::string printable(std::string_view text) {
  constexpr size_t kMostBytes = 300;
  std::string line;
  while (!text.empty()) {
    const auto [code, bytes] = first_utf8(text);
    const std::string_view shown = bytes == 0 || is_unsafe(code) ? "?" : text.substr(0, bytes);
    if (line.size() + shown.size() > kMostBytes) break;
    line += shown;
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return line;
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

int FileDescriptor::release() { return std::exchange(fd_, -1); }

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  fd_ = FileDescriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (fd_.get() < 0 || ::fstat(fd_.get(), &status) != 0) {
    fail(kRead, "{}: cannot be opened: {}", path_, describe_errno(errno));
  }
  if (!S_ISREG(status.st_mode)) fail(kRead, "{}: is not a regular file", path_);
  size_ = status.st_size;
}

InputFile InputFile::duplicate() const {
  FileDescriptor fd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (fd.get() < 0) fail(kRead, "{}: cannot be opened: {}", path_, describe_errno(errno));
  return {path_, std::move(fd), size_};
}

int64_t InputFile::read(int64_t offset, std::span<std::byte> bytes) const {
  const int64_t count = read_whole(fd_.get(), offset, bytes);
  if (count < 0) fail(kRead, "{}: cannot be read: {}", path_, describe_errno(errno));
  return count;
}

AtomicFile::AtomicFile(std::string path, Fault fault) : path_(std::move(path)), fault_(fault) {
  const std::filesystem::path place(path_);
  name_ = place.filename().string();
  if (name_.empty() || name_ == "." || name_ == "..") fail(kSave, "{}: is not a file name", path_);
  const std::string folder = place.has_parent_path() ? place.parent_path().string() : ".";
  folder_ = FileDescriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder_.get() < 0) fail_with("its folder cannot be opened", errno);
  struct stat status {};
  if (::fstatat(folder_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      !S_ISREG(status.st_mode)) {
    fail(kSave, "{}: is there already and is not a regular file", path_);
  }
  remove_stale();
  create();
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlinkat(folder_.get(), temporary_.c_str(), 0);
}

// A living writer holds a lock on its temporary file; the system drops it when the process dies.
// The name's process number is for the reader: in containers it repeats.
void AtomicFile::create() {
  static std::atomic<int64_t> number{0};
  for (;;) {
    std::string name = fmt::format(".{}.tmp-{}-{}", name_, ::getpid(), number++);
    FileDescriptor fd(
        ::openat(folder_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd.get() < 0 && errno == EEXIST) continue;
    if (fd.get() < 0) fail_with("no file can be created beside it", errno);
    struct stat status {};
    // Between creation and lock another saver may have taken it for a stale one.
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) continue;
    if (::fstat(fd.get(), &status) == 0 && status.st_nlink == 0) continue;
    temporary_ = std::move(name);
    fd_ = std::move(fd);
    return;
  }
}

void AtomicFile::remove_stale() const {
  const int folder = ::openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail_with("its folder cannot be listed", errno);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(folder), ::closedir);
  const std::string prefix = fmt::format(".{}.tmp-", name_);
  while (const dirent* entry = ::readdir(entries.get())) {
    if (!std::string_view(entry->d_name).starts_with(prefix)) continue;
    const FileDescriptor fd(
        ::openat(folder_.get(), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0 || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
    ::unlinkat(folder_.get(), entry->d_name, 0);
  }
}

template <class Call>
bool AtomicFile::attempt(std::string_view what, Call call) noexcept {
  if (error_ != 0) return false;
  const bool injected = fault_.call >= 0 && calls_ >= fault_.call;
  ++calls_;
  if (!injected && call()) return true;
  error_ = injected ? fault_.error : errno;
  failed_ = what;
  return false;
}

void AtomicFile::write(int64_t offset, std::span<const std::byte> bytes) noexcept {
  const auto size = static_cast<int64_t>(bytes.size());
  const bool written = attempt("cannot be written", [&] {
    const int64_t count = whole(size, [&](int64_t done) {
      return ::pwrite(fd_.get(), bytes.data() + done, static_cast<size_t>(size - done),
                      offset + done);
    });
    if (count >= 0 && count < size) errno = ENOSPC;
    return count == size;
  });
  if (!written) return;
  size_ = std::max(size_, offset + size);
  waiting_bytes_ += size;
  if (waiting_bytes_ >= kWritebackBytes) start_writeback();
}

void AtomicFile::truncate(int64_t size) noexcept {
  if (size == size_) return;
  if (attempt("cannot be written", [&] { return ::ftruncate(fd_.get(), size) == 0; })) size_ = size;
}

void AtomicFile::read(int64_t offset, std::span<std::byte> bytes) noexcept {
  const int64_t count = error_ != 0 ? 0 : read_whole(fd_.get(), offset, bytes);
  if (count < 0) {
    error_ = errno;
    failed_ = "cannot be read back";
  }
  const auto valid = static_cast<size_t>(std::max<int64_t>(count, 0));
  std::memset(bytes.data() + valid, 0, bytes.size() - valid);
}

void AtomicFile::start_writeback() noexcept {
  waiting_bytes_ = 0;
  if (error_ == 0) ::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
}

void AtomicFile::abandon() noexcept {
  if (error_ != 0) return;
  error_ = ECANCELED;
  failed_ = "was given up";
}

void AtomicFile::commit() {
  attempt("cannot be forced to the disk", [&] { return ::fsync(fd_.get()) == 0; });
  const bool renamed = attempt("cannot take its name", [&] {
    return ::renameat(folder_.get(), temporary_.c_str(), folder_.get(), name_.c_str()) == 0;
  });
  if (renamed) temporary_.clear();
  // EINVAL: this file system has nothing to force for a folder.
  attempt("is in place, but its folder cannot be forced to the disk",
          [&] { return ::fsync(folder_.get()) == 0 || errno == EINVAL; });
  check();
}

void AtomicFile::check() const {
  if (error_ != 0) fail_with(failed_, error_);
}

void AtomicFile::fail_with(std::string_view what, int error) const {
  fail(kSave, "{}: {}: {}", path_, what, describe_errno(error));
}

void write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(0, std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace offshoot
