#include "engine/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <new>
#include <string_view>

#include "engine/error.h"
#include "engine/file.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "child";
constexpr int kOutOfMemory = 3;
using Clock = std::chrono::steady_clock;

int64_t mapped_bytes() {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

void limit_this_process(int64_t memory_bytes) {
  // The parent may hold terabytes of reserved addresses.
  const auto most = static_cast<rlim_t>(mapped_bytes() + memory_bytes);
  const rlimit memory{most, most}, no_core{0, 0};
  ::setrlimit(RLIMIT_AS, &memory);
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGINT, SIGTERM}) {
    ::signal(signal, SIG_DFL);
  }
}

[[noreturn]] void be_child(int pipe, int64_t memory_bytes,
                           const std::function<std::string()>& work) {
  limit_this_process(memory_bytes);
  try {
    const std::string text = work();
    for (size_t done = 0; done < text.size();) {
      const ssize_t count = ::write(pipe, text.data() + done, text.size() - done);
      if (count < 0 && errno != EINTR) ::_exit(1);
      if (count > 0) done += static_cast<size_t>(count);
    }
    ::_exit(0);
  } catch (const std::bad_alloc&) {
    ::_exit(kOutOfMemory);
  } catch (const std::exception&) {
    ::abort();
  }
}

// Reads to the end. False when the deadline comes first.
bool read_pipe(int pipe, Clock::time_point deadline, std::string& text) {
  std::array<char, 4096> buffer;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd ready{pipe, POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(std::min<int64_t>(left, 1'000'000))) <= 0) continue;
    const ssize_t count = ::read(pipe, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return true;
    text.append(buffer.data(), static_cast<size_t>(count));
  }
}

}  // namespace

ChildEnd run_in_child(const ChildLimits& limits, const std::function<std::string()>& work) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail(kName, "no pipe: {}", describe_errno(errno));
  const FileDescriptor from_child(ends[0]);
  FileDescriptor to_parent(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) fail(kName, "no process: {}", describe_errno(errno));
  if (child == 0) be_child(ends[1], limits.memory_bytes, work);
  to_parent = FileDescriptor();
  ChildEnd end{ChildEnd::Kind::returned, ""};
  if (!read_pipe(from_child.get(), Clock::now() + limits.deadline, end.text)) {
    ::kill(child, SIGKILL);
    end.kind = ChildEnd::Kind::late;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (end.kind == ChildEnd::Kind::late) return {ChildEnd::Kind::late, ""};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return end;
  return {ChildEnd::Kind::crashed, "", WIFSIGNALED(status) ? WTERMSIG(status) : 0};
}

}  // namespace offshoot
