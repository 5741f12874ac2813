#include "tools/inspect/guard.h"

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

// Opening a file to write takes away what dead processes left of it.
void remove_leftovers(const std::optional<std::string>& output) {
  if (output) AtomicFile{*output};
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
      return kError + std::string(error.what());
    }
  });
  switch (end.kind) {
    case ChildEnd::Kind::returned:
      break;
    case ChildEnd::Kind::late:
      remove_leftovers(output);
      fail(kName, "{}: is damaged: not read within {} s", names_of(files),
           std::chrono::duration<double>(limits.deadline).count());
    case ChildEnd::Kind::crashed:
      remove_leftovers(output);
      if (end.signal == 0) {
        fail(kName, "{}: is damaged: reading it takes more than {} MiB of memory", names_of(files),
             limits.memory_bytes >> 20);
      }
      fail(kName, "{}: is damaged: the HDF5 library crashed on it (signal {})", names_of(files),
           end.signal);
  }
  if (end.text.empty()) fail(kName, "{}: the reading process said nothing", names_of(files));
  if (end.text.front() == kError) throw Error(end.text.substr(1));
  return {end.text.front() - '0', end.text.substr(1)};
}

}  // namespace offshoot
