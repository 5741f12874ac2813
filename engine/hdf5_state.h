// An HDF5 file open for reading, as H5Reader and its attributes see it. Included by the HDF5 layer
// only (hdf5_*.cpp).
#pragma once

#include <hdf5.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/file.h"
#include "engine/hdf5_file.h"
#include "engine/hdf5_handle.h"

namespace offshoot {

struct H5Dataset {
  H5Handle handle;
  H5Handle type;
  H5Handle space;
  H5Type known = H5Type::other;
  Shape shape;
};

// All throw Error, naming the file and the object.
struct H5Reader::State {
  explicit State(InputFile in);
  void open();

  [[noreturn]] void give_up(std::string_view object, std::string_view what) const;
  template <class... Args>
  [[noreturn]] void refuse(std::string_view object, fmt::format_string<Args...> text,
                           Args&&... args) const {
    fail("hdf5", "{}: {}: {}", file.path(), printable(object.empty() ? "/" : object),
         printable(fmt::format(text, std::forward<Args>(args)...)));
  }

  bool has(std::string_view name) const;
  bool lies_in_group(const std::string& path) const;
  H5O_info_t object(std::string_view name) const;
  std::vector<std::string> children(std::string_view group) const;
  // Calls f(name, type) for `name` and all below it, each group once.
  void each_object(const std::string& name, std::set<haddr_t>& groups, int depth,
                   const std::function<void(const std::string&, H5O_type_t)>& f) const;
  std::vector<std::string> below(std::string_view group,
                                 const std::function<bool(H5O_type_t)>& wanted) const;

  H5Dataset dataset(std::string_view name) const;
  Shape shape_from(std::string_view name, const std::vector<hsize_t>& dims) const;
  // No more elements than the bytes in the file can hold: nothing is allocated on a claim.
  void check_size(std::string_view name, const H5Dataset& data) const;
  void expect_type(std::string_view name, const H5Dataset& data, H5Type type) const;

  void read(std::string_view name, const H5Dataset& data, hid_t memory_type, void* out) const;
  // What the attribute xxh3 says, where it is.
  std::optional<std::string> expected_hash(std::string_view name, const H5Dataset& data) const;
  void check_hash(std::string_view name, const H5Dataset& data,
                  std::span<const std::byte> bytes) const;
  std::vector<std::string> texts(std::string_view name, const H5Dataset& data) const;
  std::vector<H5Column> table(std::string_view name, const H5Dataset& data) const;

  struct Attribute {
    H5Handle handle;
    H5Handle type;
  };
  Attribute attribute(std::string_view object_name, std::string_view name) const;
  bool is_one_value(const std::string& path, const std::string& name) const;
  void read_attribute(std::string_view object_name, std::string_view name, const Attribute& from,
                      hid_t memory_type, void* out) const;
  std::string text_attribute(std::string_view object_name, std::string_view name) const;

  InputFile file;
  H5Handle h5;
};

// "a/b" -> "/a/b".
std::string h5_absolute(std::string_view name);

// A variable-length type with the character set of `type`: HDF5 refuses to convert between them.
H5Handle h5_variable_text(hid_t type);

}  // namespace offshoot
