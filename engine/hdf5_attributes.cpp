// Attributes of groups and datasets.
#include <algorithm>
#include <memory>

#include "engine/hdf5_file.h"
#include "engine/hdf5_state.h"
#include "engine/hdf5_types.h"

namespace offshoot {
namespace {

herr_t collect_attribute(hid_t, const char* name, const H5A_info_t*, void* names) noexcept {
  static_cast<std::vector<std::string>*>(names)->emplace_back(name);
  return 0;
}

}  // namespace

H5Reader::State::Attribute H5Reader::State::attribute(std::string_view object_name,
                                                      std::string_view name) const {
  object(object_name);
  const std::string path = h5_absolute(object_name);
  Attribute result;
  result.handle = H5Handle(
      H5Aopen_by_name(h5, path.c_str(), std::string(name).c_str(), H5P_DEFAULT, H5P_DEFAULT),
      H5Aclose);
  if (!result.handle) refuse(object_name, "the attribute {} is missing", name);
  const H5Handle space(H5Aget_space(result.handle), H5Sclose);
  result.type = H5Handle(H5Aget_type(result.handle), H5Tclose);
  if (!result.type || !space || H5Sget_simple_extent_npoints(space) != 1) {
    refuse(object_name, "the attribute {} is not one value", name);
  }
  return result;
}

bool H5Reader::State::is_one_value(const std::string& path, const std::string& name) const {
  const H5Handle handle(H5Aopen_by_name(h5, path.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose);
  const H5Handle space(handle ? H5Aget_space(handle) : -1, H5Sclose);
  const H5Handle type(handle ? H5Aget_type(handle) : -1, H5Tclose);
  if (!space || !type) give_up(path, fmt::format("the attribute {} cannot be read", name));
  const H5T_class_t kind = H5Tget_class(type);
  return H5Sget_simple_extent_npoints(space) == 1 &&
         (kind == H5T_STRING || kind == H5T_INTEGER || kind == H5T_FLOAT);
}

void H5Reader::State::read_attribute(std::string_view object_name, std::string_view name,
                                     const Attribute& from, hid_t memory_type, void* out) const {
  if (H5Aread(from.handle, memory_type, out) < 0) {
    give_up(object_name, fmt::format("the attribute {} cannot be read", name));
  }
}

std::string H5Reader::State::text_attribute(std::string_view object_name,
                                            std::string_view name) const {
  const Attribute from = attribute(object_name, name);
  if (H5Tget_class(from.type) != H5T_STRING) {
    refuse(object_name, "the attribute {} is not text", name);
  }
  if (H5Tis_variable_str(from.type) > 0) {
    char* pointer = nullptr;
    read_attribute(object_name, name, from, h5_variable_text(from.type), &pointer);
    const std::unique_ptr<char, herr_t (*)(void*)> owner(pointer, H5free_memory);
    return pointer != nullptr ? pointer : "";
  }
  const size_t width = H5Tget_size(from.type);
  if (static_cast<int64_t>(width) > file.size()) {
    refuse(object_name, "the attribute {} is larger than the file", name);
  }
  std::string text(width, '\0');
  read_attribute(object_name, name, from, from.type, text.data());
  return text.substr(0, text.find('\0'));
}

std::vector<std::string> H5Reader::attributes(std::string_view object) const {
  state_->object(object);
  const std::string path = h5_absolute(object);
  std::vector<std::string> names;
  hsize_t next = 0;
  if (H5Aiterate_by_name(state_->h5, path.c_str(), H5_INDEX_NAME, H5_ITER_INC, &next,
                         collect_attribute, &names, H5P_DEFAULT) < 0) {
    state_->give_up(object, "its attributes cannot be listed");
  }
  std::erase_if(names, [&](const std::string& name) { return !state_->is_one_value(path, name); });
  std::sort(names.begin(), names.end());
  return names;
}

std::string H5Reader::attribute(std::string_view object, std::string_view name) const {
  switch (H5Tget_class(state_->attribute(object, name).type)) {
    case H5T_STRING:
      return text_attribute(object, name);
    case H5T_INTEGER:
      return fmt::format("{}", integer_attribute(object, name));
    default:
      return fmt::format("{}", number_attribute(object, name));
  }
}

bool H5Reader::has_attribute(std::string_view object, std::string_view name) const {
  state_->object(object);
  const std::string path = h5_absolute(object);
  return H5Aexists_by_name(state_->h5, path.c_str(), std::string(name).c_str(), H5P_DEFAULT) > 0;
}

std::string H5Reader::text_attribute(std::string_view object, std::string_view name) const {
  return state_->text_attribute(object, name);
}

int64_t H5Reader::integer_attribute(std::string_view object, std::string_view name) const {
  const State::Attribute from = state_->attribute(object, name);
  if (H5Tget_class(from.type) != H5T_INTEGER) {
    state_->refuse(object, "the attribute {} is not an integer", name);
  }
  int64_t value = 0;
  state_->read_attribute(object, name, from, H5T_NATIVE_INT64, &value);
  return value;
}

double H5Reader::number_attribute(std::string_view object, std::string_view name) const {
  const State::Attribute from = state_->attribute(object, name);
  if (H5Tget_class(from.type) != H5T_INTEGER && H5Tget_class(from.type) != H5T_FLOAT) {
    state_->refuse(object, "the attribute {} is not a number", name);
  }
  double value = 0;
  state_->read_attribute(object, name, from, H5T_NATIVE_DOUBLE, &value);
  return value;
}

}  // namespace offshoot
