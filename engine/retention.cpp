#include "engine/retention.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "engine/error.h"
#include "engine/file.h"

namespace offshoot {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kName = "retention";
constexpr int kDigits = 8;  // more where a step needs them

[[noreturn]] void cannot(const std::string& path, const char* what, int error) {
  fail(kName, "{}: {}: {}", path, what, describe_errno(error));
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void force_folder(const fs::path& folder) {
  const FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // EINVAL: this file system has nothing to force for a folder.
  if (fd.get() < 0 || (::fsync(fd.get()) != 0 && errno != EINVAL)) {
    cannot(folder, "cannot be forced to the disk", errno);
  }
}

// The step in a numbered name of `path`; nothing for other names.
std::optional<int64_t> step_of(const fs::path& path, const std::string& name) {
  const std::string prefix = path.stem().string() + '-', suffix = path.extension().string();
  if (!name.starts_with(prefix) || !name.ends_with(suffix)) return std::nullopt;
  if (name.size() < prefix.size() + suffix.size() + kDigits) return std::nullopt;
  const std::string_view digits =
      std::string_view(name).substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  int64_t step = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, step);
  if (error != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

struct Saved {
  timespec time;
  int64_t step;
  std::string path;
};

bool later(const Saved& a, const Saved& b) {
  return std::tie(a.time.tv_sec, a.time.tv_nsec, a.step) >
         std::tie(b.time.tv_sec, b.time.tv_nsec, b.step);
}

std::vector<Saved> numbered_files(const fs::path& path) {
  std::vector<Saved> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder_of(path), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::optional<int64_t> step = step_of(path, entry->path().filename().string());
    struct stat status {};
    if (!step || ::lstat(entry->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    files.push_back({status.st_mtim, *step, entry->path().string()});
  }
  if (error) cannot(folder_of(path).string(), "cannot be listed", error.value());
  return files;
}

}  // namespace

void link_file(const std::string& from, const std::string& to) {
  const fs::path place(to);
  // As AtomicFile calls its own, so that one left by a dead process goes at the next save.
  const std::string temporary =
      folder_of(place) / fmt::format(".{}.tmp-{}-link", place.filename().string(), ::getpid());
  ::unlink(temporary.c_str());
  if (::link(from.c_str(), temporary.c_str()) != 0) {
    const int error = errno;
    cannot(from, fmt::format("cannot have {} as a second name", to).c_str(), error);
  }
  const bool renamed = ::rename(temporary.c_str(), to.c_str()) == 0;
  const int error = errno;
  // rename() does nothing where both are names of one file already.
  ::unlink(temporary.c_str());
  if (!renamed) cannot(to, "cannot be made a second name", error);
  force_folder(folder_of(place));
}

std::string numbered_name(const std::string& path, int64_t step) {
  const fs::path place(path);
  return place.parent_path() / fmt::format("{}-{:0{}}{}", place.stem().string(), step, kDigits,
                                           place.extension().string());
}

void keep_newest(const std::string& path, int64_t step, int64_t keep) {
  if (keep < 1) fail(kName, "keep: got {}, expected at least 1", keep);
  link_file(path, numbered_name(path, step));
  std::vector<Saved> files = numbered_files(path);
  std::ranges::sort(files, later);
  for (size_t i = static_cast<size_t>(keep); i < files.size(); ++i) {
    if (::unlink(files[i].path.c_str()) != 0 && errno != ENOENT) {
      cannot(files[i].path, "cannot be removed", errno);
    }
  }
}

}  // namespace offshoot
