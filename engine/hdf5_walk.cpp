#include "engine/hdf5_walk.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <new>
#include <utility>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "hdf5";
using Clock = std::chrono::steady_clock;

int64_t address_space_bytes() {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

void limit_child(int64_t file_bytes) {
  // Beyond what the parent has mapped already: it may hold terabytes of reserved addresses.
  const int64_t most = address_space_bytes() + (int64_t{256} << 20) + 8 * file_bytes;
  const rlimit memory{static_cast<rlim_t>(most), static_cast<rlim_t>(most)};
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_AS, &memory);
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Sanitizers and libraries would report the crash of a file that is expected to be bad.
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ::dup2(null, STDERR_FILENO);
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGINT, SIGTERM}) {
    ::signal(signal, SIG_DFL);
  }
}

// What the child says: nothing when the file is sound.
std::string fault_of(const InputFile& file) {
  try {
    h5_walk(H5Reader(file.duplicate(), H5Reader::Trust::checked));
    return "";
  } catch (const std::bad_alloc&) {
    return "needs more memory than its size justifies";
  } catch (const std::exception& error) {
    return error.what();
  }
}

// Reads to the end, or until the deadline: then `late` is set.
std::string read_pipe(int fd, Clock::time_point deadline, bool& late) {
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) {
      late = true;
      return text;
    }
    pollfd poll_fd{fd, POLLIN, 0};
    if (::poll(&poll_fd, 1, static_cast<int>(std::min<int64_t>(left.count(), 1'000'000))) <= 0) {
      continue;
    }
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(buffer.data(), static_cast<size_t>(count));
  }
}

}  // namespace

void h5_walk(const H5Reader& reader) {
  for (const std::string& name : reader.objects()) {
    for (const std::string& attribute : reader.attributes(name)) reader.attribute(name, attribute);
    if (reader.is_group(name)) continue;
    const H5Info info = reader.info(name);
    switch (info.type) {
      case H5Type::text:
        reader.read_texts(name);
        break;
      case H5Type::table:
        reader.read_table(name);
        break;
      case H5Type::other:
        break;
      default: {
        const int64_t bytes = info.shape.size() * element_bytes(info.type);
        std::vector<std::byte> values(static_cast<size_t>(bytes));
        reader.read_bytes(name, info.type, values);
      }
    }
  }
}

void h5_walk_in_child(const InputFile& file) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    fail(kName, "{}: no pipe to check it: {}", file.path(), describe_errno(errno));
  }
  FileDescriptor from_child(ends[0]), to_parent(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) fail(kName, "{}: no process to check it: {}", file.path(), describe_errno(errno));
  if (child == 0) {
    limit_child(file.size());
    const std::string fault = fault_of(file);
    const ssize_t written = ::write(ends[1], fault.data(), fault.size());
    ::_exit(written == static_cast<ssize_t>(fault.size()) && fault.empty() ? 0 : 1);
  }
  to_parent = FileDescriptor();
  const auto limit = std::chrono::seconds(10 + file.size() / (int64_t{16} << 20));
  bool late = false;
  const std::string fault = read_pipe(from_child.get(), Clock::now() + limit, late);
  if (late) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (late) fail(kName, "{}: is damaged: not read within {} s", file.path(), limit.count());
  if (!fault.empty()) throw Error(fault);
  if (WIFSIGNALED(status)) {
    fail(kName, "{}: is damaged: the HDF5 library crashed on it (signal {})", file.path(),
         WTERMSIG(status));
  }
  if (WEXITSTATUS(status) != 0) fail(kName, "{}: could not be checked", file.path());
}

}  // namespace offshoot
