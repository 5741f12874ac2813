#include "engine/retention.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
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
  const std::string prefix = fmt::format("{}-step", path.stem().string()),
                    suffix = path.extension().string();
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

// Newest first, `step` before all others.
void sort_by_age(std::vector<Saved>& files, int64_t step) {
  const auto age = [&](const Saved& file) {
    return std::tuple(file.step == step, file.time.tv_sec, file.time.tv_nsec, file.step);
  };
  std::ranges::sort(files, [&](const Saved& a, const Saved& b) { return age(a) > age(b); });
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) cannot(path, "cannot be removed", errno);
}

// A name for a while, as AtomicFile gives them; the process's number tells whose it is.
fs::path temporary_name(const fs::path& place) {
  return folder_of(place) / fmt::format(".{}.tmp-{}-link", place.filename().string(), ::getpid());
}

// Those for numbered names of `path` and for `path` that other processes left behind: a name lives
// for an instant, so whose process is gone is left behind.
void remove_stale(const fs::path& path) {
  const std::string prefix = fmt::format(".{}", path.stem().string()), suffix = "-link";
  std::error_code error;
  for (fs::directory_iterator entry(folder_of(path), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const size_t mark = name.rfind(".tmp-");
    if (!name.starts_with(prefix) || !name.ends_with(suffix) || mark == std::string::npos) continue;
    pid_t owner = 0;
    const char* digits = name.data() + mark + std::string_view(".tmp-").size();
    const char* end_of_name = name.data() + name.size() - suffix.size();
    const auto [stop, wrong] = std::from_chars(digits, end_of_name, owner);
    if (wrong != std::errc() || stop != end_of_name || owner <= 0) continue;
    if (owner == ::getpid() || ::kill(owner, 0) == 0 || errno == EPERM) continue;
    remove_file(entry->path());
  }
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
  remove_stale(place);
  const std::string temporary = temporary_name(place);
  remove_file(temporary);
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

void check_links(const std::string& folder) {
  const std::string file = folder + "/.links", name = folder + "/.links-too";
  write_file(file, "");
  try {
    link_file(file, name);
  } catch (const Error&) {
    ::unlink(file.c_str());
    throw;
  }
  remove_file(name);
  remove_file(file);
}

std::string numbered_name(const std::string& path, int64_t step) {
  const fs::path place(path);
  return place.parent_path() / fmt::format("{}-step{:0{}}{}", place.stem().string(), step, kDigits,
                                           place.extension().string());
}

void keep_newest(const std::string& path, int64_t step, int64_t keep) {
  if (keep < 1) fail(kName, "keep: got {}, expected at least 1", keep);
  link_file(path, numbered_name(path, step));
  remove_stale(path);
  std::vector<Saved> files = numbered_files(path);
  sort_by_age(files, step);
  for (size_t i = static_cast<size_t>(keep); i < files.size(); ++i) remove_file(files[i].path);
}

void remove_numbered(const std::string& path) {
  for (const Saved& file : numbered_files(path)) remove_file(file.path);
}

}  // namespace offshoot
