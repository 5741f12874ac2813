// Looks into files that nobody has verified, where it can do no harm.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/child.h"
#include "engine/error.h"
#include "engine/file.h"

namespace offshoot {

// Reading came to no end: it crashed, or would take more time or memory than it may. That need not
// be the file's fault.
class NotRead : public Error {
 public:
  using Error::Error;
};

// What a view comes to: the program's exit status, and what it prints.
struct Outcome {
  int status = 0;
  std::string text;
};

// 30 s and 1 s for each 4 MiB of the files; 512 MiB and twice the files' size.
ChildLimits limits_for(const std::vector<const InputFile*>& files);

// Runs `view`, which reads `files`, in a child process: a damaged file can hang or crash the HDF5
// library. Throws Error with the child's own, or NotRead with the names of the files. `output`: the
// file that the view writes; what a killed child leaves of it is removed.
Outcome run_guarded(const std::vector<const InputFile*>& files,
                    const std::function<Outcome()>& view,
                    const std::optional<std::string>& output = std::nullopt);
Outcome run_guarded(const std::vector<const InputFile*>& files, const ChildLimits& limits,
                    const std::function<Outcome()>& view,
                    const std::optional<std::string>& output = std::nullopt);

// Whether HDF5 says that it got no memory, which it reports as any other fault.
bool is_out_of_memory(std::string_view error);

}  // namespace offshoot
