// The folder of a run's results.
#pragma once

#include <string>

namespace offshoot {

// Is made at the start, so that a long run does not fail at its end; goes again if it is still
// empty when the run fails.
class OutputFolder {
 public:
  // Throws Error when it can neither be made nor written to.
  explicit OutputFolder(std::string folder);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::string& folder() const { return folder_; }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

 private:
  std::string folder_;
  std::string made_;  // the outermost folder that was not there; empty: none
};

}  // namespace offshoot
