#include "tools/hmm/output_folder.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "engine/error.h"
#include "engine/file.h"

namespace offshoot {

namespace fs = std::filesystem;

OutputFolder::OutputFolder(std::string folder) : folder_(std::move(folder)) {
  if (folder_.empty()) fail("out", "got an empty name, expected a folder");
  std::error_code error;
  const fs::path whole = fs::absolute(folder_).lexically_normal();
  fs::path part;
  for (const fs::path& step : whole) {
    part /= step;
    if (!fs::exists(part, error) && made_.empty()) made_ = part;
  }
  fs::create_directories(whole, error);
  if (error) fail("out", "{}: cannot be made: {}", folder_, describe_errno(error.value()));
  if (::access(whole.c_str(), W_OK | X_OK) != 0) {
    fail("out", "{}: cannot be written to: {}", folder_, describe_errno(errno));
  }
}

OutputFolder::~OutputFolder() {
  if (made_.empty()) return;
  std::error_code ignored;  // a folder with something in it stays
  fs::path part = fs::absolute(folder_, ignored).lexically_normal();
  while (part.string().size() >= made_.size() && fs::remove(part, ignored)) {
    part = part.parent_path();
  }
}

}  // namespace offshoot
