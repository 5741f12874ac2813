// Reads golden values from HDF5: what PyTorch computed (tests/golden/README.md), or any other file
// of float and integer tables.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace offshoot::testing {

using NamedTensors = std::map<std::string, Tensor>;

class GoldenFile {
 public:
  // A relative path starts at tests/golden. Throws Error when there is no such HDF5 file. All
  // functions below throw Error on names that the file lacks, too.
  explicit GoldenFile(const std::string& path);

  // What lies directly in a group, in alphabetical order: operations in "/", cases in "/<op>".
  std::vector<std::string> names(const std::string& group) const;
  std::vector<std::string> cases(const std::string& op) const { return names("/" + op); }
  bool contains(const std::string& path) const;

  // Floats of any width as `dtype` (f64 or f32); integers of 8 bytes as i64, smaller ones as i32.
  Tensor tensor(const std::string& path, DType dtype = DType::f64) const;
  // All tables directly in a group.
  NamedTensors tensors(const std::string& group, DType dtype = DType::f64) const;

  // Attributes of a group or table.
  bool has_attribute(const std::string& path, const std::string& name) const;
  double number(const std::string& path, const std::string& name) const;
  std::vector<int64_t> integers(const std::string& path, const std::string& name) const;
  std::string text(const std::string& path, const std::string& name) const;
  std::string config(const std::string& path) const { return text(path, "config"); }  // JSON

 private:
  class Handle;
  std::string path_;
  std::shared_ptr<const Handle> file_;
};

}  // namespace offshoot::testing
