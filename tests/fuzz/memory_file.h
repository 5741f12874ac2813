// A file in memory with a path, for code that opens paths.
#pragma once

#include <string>
#include <string_view>

#include "engine/file.h"

namespace offshoot::testing {

class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes);
  const std::string& path() const { return path_; }

 private:
  FileDescriptor fd_;
  std::string path_;
};

}  // namespace offshoot::testing
