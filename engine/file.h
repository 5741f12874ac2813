// Files: one that is read, and one that appears whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace offshoot {

// "No space left on device (ENOSPC)".
std::string describe_errno(int error);

// Text from a file as part of an error of one line: without control characters, marks of direction
// and bytes that are no UTF-8, and cut at 300 bytes.
std::string printable(std::string_view text);

// Closes on destruction.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }

 private:
  int release();
  int fd_;
};

// A file open for reading. It stays the same file when its name is given to another one meanwhile.
class InputFile {
 public:
  // Throws Error when it cannot be opened or is not a regular file.
  explicit InputFile(std::string path);
  // The same open file once more.
  InputFile duplicate() const;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }  // when opened
  int descriptor() const { return fd_.get(); }

  // Returns the number of bytes read: fewer than asked only at the end. Throws Error.
  int64_t read(int64_t offset, std::span<std::byte> bytes) const;

 private:
  InputFile(std::string path, FileDescriptor fd, int64_t size)
      : path_(std::move(path)), fd_(std::move(fd)), size_(size) {}

  std::string path_;
  FileDescriptor fd_;
  int64_t size_ = 0;
};

// A file written beside its place under a temporary name, `.NAME.tmp-PID-N`. commit() forces it to
// the disk, renames it and forces the folder: a kill or a power cut at any instant leaves what was
// there before, or the new file whole. Without commit() the temporary file goes.
//
// The first error of a write stays: it is kept, later writes are dropped, commit() throws it. So a
// library that cannot bear failing writes may write here.
class AtomicFile {
 public:
  // For tests: the system call numbered `call` (writes, truncations, fsyncs and the rename, from 0)
  // and all after it fail with `error`.
  struct Fault {
    int64_t call = -1;
    int error = 0;
  };

  // Creates the temporary file and removes those that dead processes left behind for this name.
  // Throws Error when the folder cannot be written, or when `path` is there and no regular file.
  explicit AtomicFile(std::string path, Fault fault);
  explicit AtomicFile(std::string path) : AtomicFile(std::move(path), Fault{}) {}
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  int error() const { return error_; }  // the first errno, or 0
  int64_t calls() const { return calls_; }

  void write(int64_t offset, std::span<const std::byte> bytes) noexcept;
  void truncate(int64_t size) noexcept;
  // Bytes past the end read as zeros.
  void read(int64_t offset, std::span<std::byte> bytes) noexcept;
  // Lets the disk start on what has been written: a hint, given by itself now and then.
  void start_writeback() noexcept;
  // Drops what follows: commit() will throw.
  void abandon() noexcept;

  // Throws Error, naming the path and the cause, when an error is kept.
  void check() const;

  // Throws as check() does. Only when forcing the folder fails is the new file in place already.
  void commit();

 private:
  // Runs one system call unless an error is kept already; false when it fails.
  template <class Call>
  bool attempt(std::string_view what, Call call) noexcept;
  void create();
  void remove_stale() const;
  [[noreturn]] void fail_with(std::string_view what, int error) const;

  std::string path_;
  std::string name_;       // in its folder
  std::string temporary_;  // in the same folder; empty once renamed or removed
  FileDescriptor folder_;
  FileDescriptor fd_;
  Fault fault_;
  int64_t calls_ = 0;
  int64_t size_ = 0;
  int64_t waiting_bytes_ = 0;  // written since the last hint
  int error_ = 0;
  std::string_view failed_;  // what `error_` happened to
};

// Writes a whole text file so. Throws Error.
void write_file(const std::string& path, std::string_view text);

}  // namespace offshoot
