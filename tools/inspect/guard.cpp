#include "tools/inspect/guard.h"

#include <utility>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "inspect";
constexpr char kError = 'E';

std::string names_of(const std::vector<const InputFile*>& files) {
  std::string names;
  for (const InputFile* file : files) names += (names.empty() ? "" : ", ") + file->path();
  return names;
}

int64_t bytes_of(const std::vector<const InputFile*>& files) {
  int64_t bytes = 0;
  for (const InputFile* file : files) bytes += file->size();
  return bytes;
}

// HDF5 knows the root by no name: "a.h5: : cannot be listed" -> "a.h5: /: cannot be listed".
std::string with_root(std::string text, const std::vector<const InputFile*>& files) {
  for (const InputFile* file : files) {
    const size_t at = text.find(file->path() + ": : ");
    if (at != std::string::npos) text.insert(at + file->path().size() + 2, 1, '/');
  }
  return text;
}

// Opening a file to write takes away what dead processes left of it.
void remove_leftovers(const std::optional<std::string>& output) {
  if (output) AtomicFile{*output};
}

template <class... Args>
[[noreturn]] void not_read(fmt::format_string<Args...> text, Args&&... args) {
  throw NotRead(fmt::format("[{}] {}", kName, fmt::format(text, std::forward<Args>(args)...)));
}

[[noreturn]] void no_memory(const std::vector<const InputFile*>& files, const ChildLimits& limits) {
  not_read("{}: reading it takes more than {} MiB of memory", names_of(files),
           limits.memory_bytes >> 20);
}

}  // namespace

ChildLimits limits_for(const std::vector<const InputFile*>& files) {
  const int64_t bytes = bytes_of(files);
  return {std::chrono::seconds(30 + bytes / (int64_t{4} << 20)), (int64_t{512} << 20) + 2 * bytes};
}

Outcome run_guarded(const std::vector<const InputFile*>& files,
                    const std::function<Outcome()>& view,
                    const std::optional<std::string>& output) {
  return run_guarded(files, limits_for(files), view, output);
}

Outcome run_guarded(const std::vector<const InputFile*>& files, const ChildLimits& limits,
                    const std::function<Outcome()>& view,
                    const std::optional<std::string>& output) {
  const ChildEnd end = run_in_child(limits, [&]() -> std::string {
    try {
      const Outcome outcome = view();
      return static_cast<char>('0' + outcome.status) + outcome.text;
    } catch (const Error& error) {
      return kError + with_root(error.what(), files);
    }
  });
  if (end.kind != ChildEnd::Kind::returned) remove_leftovers(output);
  switch (end.kind) {
    case ChildEnd::Kind::returned:
      break;
    case ChildEnd::Kind::late:
      not_read("{}: not read within {} s", names_of(files),
               std::chrono::duration<double>(limits.deadline).count());
    case ChildEnd::Kind::crashed:
      if (end.signal == 0) no_memory(files, limits);
      not_read("{}: reading it crashed (signal {})", names_of(files), end.signal);
  }
  if (end.text.empty()) fail(kName, "{}: the reading process said nothing", names_of(files));
  if (end.text.front() == kError) {
    if (is_out_of_memory(end.text)) no_memory(files, limits);
    throw Error(end.text.substr(1));
  }
  return {end.text.front() - '0', end.text.substr(1)};
}

bool is_out_of_memory(std::string_view error) {
  return error.find("memory allocation failed") != std::string_view::npos ||
         error.find("unable to allocate") != std::string_view::npos;
}

}  // namespace offshoot
