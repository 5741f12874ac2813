#include "tests/support/golden.h"

#include <hdf5.h>

#include <algorithm>
#include <utility>

#include "engine/error.h"

namespace offshoot::testing {

// Closes an HDF5 identifier; refuses an invalid one.
class GoldenFile::Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close, const std::string& what) : id_(id), close_(close) {
    if (id < 0) fail("golden", "cannot open {}", what);
  }
  ~Handle() { close_(id_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

namespace {

std::vector<int64_t> dimensions(hid_t space) {
  std::vector<hsize_t> sizes(static_cast<size_t>(H5Sget_simple_extent_ndims(space)));
  H5Sget_simple_extent_dims(space, sizes.data(), nullptr);
  return {sizes.begin(), sizes.end()};
}

// Reads a whole table through HDF5's conversion.
template <class T>
Tensor read_table(hid_t table, hid_t memory_type, const Shape& shape, const std::string& path) {
  Tensor tensor(shape, dtype_of<T>);
  if (H5Dread(table, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor.data<T>()) < 0) {
    fail("golden", "cannot read {}", path);
  }
  return tensor;
}

}  // namespace

GoldenFile::GoldenFile(const std::string& path)
    : path_(path.starts_with('/') ? path : std::string(OFFSHOOT_GOLDEN_DIR) + "/" + path) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // our own messages are enough
  const hid_t file = H5Fopen(path_.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  file_ = std::make_shared<const Handle>(file, H5Fclose, path_);
}

std::vector<std::string> GoldenFile::names(const std::string& group) const {
  const Handle id(H5Gopen2(*file_, group.c_str(), H5P_DEFAULT), H5Gclose, path_ + ":" + group);
  std::vector<std::string> found;
  const auto collect = [](hid_t, const char* name, const H5L_info_t*, void* into) -> herr_t {
    static_cast<std::vector<std::string>*>(into)->emplace_back(name);
    return 0;
  };
  if (H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &found) < 0) {
    fail("golden", "cannot list {}:{}", path_, group);
  }
  return found;
}

bool GoldenFile::contains(const std::string& path) const {
  const Handle id(H5Gopen2(*file_, "/", H5P_DEFAULT), H5Gclose, path_);
  for (size_t end = 1; end != std::string::npos && end < path.size();) {
    end = path.find('/', end);
    const std::string part = path.substr(0, end);
    if (H5Lexists(id, part.c_str(), H5P_DEFAULT) <= 0) return false;
    if (end != std::string::npos) ++end;
  }
  return true;
}

Tensor GoldenFile::tensor(const std::string& path, DType dtype) const {
  const std::string what = path_ + ":" + path;
  const Handle table(H5Dopen2(*file_, path.c_str(), H5P_DEFAULT), H5Dclose, what);
  const Handle type(H5Dget_type(table), H5Tclose, what);
  const Handle space(H5Dget_space(table), H5Sclose, what);
  const Shape shape(dimensions(space));
  if (H5Tget_class(type) == H5T_INTEGER) {
    if (H5Tget_size(type) == 8) return read_table<int64_t>(table, H5T_NATIVE_INT64, shape, what);
    return read_table<int32_t>(table, H5T_NATIVE_INT32, shape, what);
  }
  if (H5Tget_class(type) != H5T_FLOAT) fail("golden", "{} holds neither floats nor integers", what);
  if (dtype == DType::f32) return read_table<float>(table, H5T_NATIVE_FLOAT, shape, what);
  return read_table<double>(table, H5T_NATIVE_DOUBLE, shape, what);
}

NamedTensors GoldenFile::tensors(const std::string& group, DType dtype) const {
  NamedTensors found;
  for (const std::string& name : names(group)) {
    H5O_info_t info;
    const std::string path = group + "/" + name;
    if (H5Oget_info_by_name2(*file_, path.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) {
      fail("golden", "cannot look at {}:{}", path_, path);
    }
    if (info.type == H5O_TYPE_DATASET) found.emplace(name, tensor(path, dtype));
  }
  return found;
}

bool GoldenFile::has_attribute(const std::string& path, const std::string& name) const {
  return H5Aexists_by_name(*file_, path.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

double GoldenFile::number(const std::string& path, const std::string& name) const {
  const std::string what = path_ + ":" + path + "@" + name;
  const Handle attribute(
      H5Aopen_by_name(*file_, path.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
      what);
  const Handle space(H5Aget_space(attribute), H5Sclose, what);
  double value = 0.0;
  if (H5Sget_simple_extent_npoints(space) != 1 ||
      H5Aread(attribute, H5T_NATIVE_DOUBLE, &value) < 0) {
    fail("golden", "{} is not a number", what);
  }
  return value;
}

std::vector<int64_t> GoldenFile::integers(const std::string& path, const std::string& name) const {
  const std::string what = path_ + ":" + path + "@" + name;
  const Handle attribute(
      H5Aopen_by_name(*file_, path.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
      what);
  const Handle space(H5Aget_space(attribute), H5Sclose, what);
  std::vector<int64_t> values(static_cast<size_t>(H5Sget_simple_extent_npoints(space)));
  if (H5Aread(attribute, H5T_NATIVE_INT64, values.data()) < 0) {
    fail("golden", "{} holds no integers", what);
  }
  return values;
}

std::string GoldenFile::text(const std::string& path, const std::string& name) const {
  const std::string what = path_ + ":" + path + "@" + name;
  const Handle attribute(
      H5Aopen_by_name(*file_, path.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
      what);
  const Handle type(H5Aget_type(attribute), H5Tclose, what);
  if (H5Tget_class(type) != H5T_STRING) fail("golden", "{} is no text", what);
  if (H5Tis_variable_str(type) > 0) {
    char* characters = nullptr;
    if (H5Aread(attribute, type, &characters) < 0) fail("golden", "cannot read {}", what);
    std::string value(characters);
    H5free_memory(characters);
    return value;
  }
  std::string value(H5Tget_size(type), '\0');
  if (H5Aread(attribute, type, value.data()) < 0) fail("golden", "cannot read {}", what);
  value.resize(std::min(value.size(), value.find('\0')));
  return value;
}

}  // namespace offshoot::testing
