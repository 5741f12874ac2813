#include "engine/hdf5_types.h"

#include <array>
#include <memory>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr std::array kNumbers{H5Type::f32, H5Type::f64, H5Type::i32,
                              H5Type::i64, H5Type::u8,  H5Type::u64};

}  // namespace

std::string_view to_string(H5Type type) {
  switch (type) {
    case H5Type::f32:
      return "f32";
    case H5Type::f64:
      return "f64";
    case H5Type::i32:
      return "i32";
    case H5Type::i64:
      return "i64";
    case H5Type::u8:
      return "u8";
    case H5Type::u64:
      return "u64";
    case H5Type::text:
      return "text";
    case H5Type::table:
      return "table";
    case H5Type::other:
      return "a type of its own";
  }
  return "unknown";
}

int64_t element_bytes(H5Type type) {
  switch (type) {
    case H5Type::u8:
      return 1;
    case H5Type::f32:
    case H5Type::i32:
      return 4;
    case H5Type::f64:
    case H5Type::i64:
    case H5Type::u64:
      return 8;
    case H5Type::text:
    case H5Type::table:
    case H5Type::other:
      return 0;
  }
  return 0;
}

hid_t h5_number_type(H5Type type) {
  switch (type) {
    case H5Type::f32:
      return H5T_NATIVE_FLOAT;
    case H5Type::f64:
      return H5T_NATIVE_DOUBLE;
    case H5Type::i32:
      return H5T_NATIVE_INT32;
    case H5Type::i64:
      return H5T_NATIVE_INT64;
    case H5Type::u8:
      return H5T_NATIVE_UINT8;
    case H5Type::u64:
      return H5T_NATIVE_UINT64;
    case H5Type::text:
    case H5Type::table:
    case H5Type::other:
      break;
  }
  fail("bug", "{} is no number type", to_string(type));
}

H5Handle h5_text_type(std::optional<int64_t> bytes) {
  H5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  const bool made = H5Tset_size(type, bytes ? static_cast<size_t>(*bytes) : H5T_VARIABLE) >= 0 &&
                    H5Tset_cset(type, H5T_CSET_UTF8) >= 0 &&
                    H5Tset_strpad(type, bytes ? H5T_STR_NULLPAD : H5T_STR_NULLTERM) >= 0;
  OFFSHOOT_CHECK(made, "{}", h5_reason());
  return type;
}

H5Handle h5_table_type(const std::vector<H5Field>& fields) {
  H5Handle type(H5Tcreate(H5T_COMPOUND, 8 * fields.size()), H5Tclose);
  for (size_t i = 0; i < fields.size(); ++i) {
    const herr_t status =
        H5Tinsert(type, fields[i].name.c_str(), 8 * i, h5_number_type(fields[i].type));
    OFFSHOOT_CHECK(status >= 0, "{}", h5_reason());
  }
  return type;
}

namespace {

bool has_table_columns(hid_t compound) {
  const int count = H5Tget_nmembers(compound);
  for (int i = 0; i < count; ++i) {
    const H5Handle member(H5Tget_member_type(compound, static_cast<unsigned>(i)), H5Tclose);
    const H5Type type =
        member && H5Tget_class(member) != H5T_COMPOUND ? h5_type_from(member) : H5Type::other;
    if (type != H5Type::i64 && type != H5Type::f64) return false;
  }
  return count > 0;
}

}  // namespace

H5Type h5_type_from(hid_t type) {
  if (H5Tget_class(type) == H5T_STRING) return H5Type::text;
  if (H5Tget_class(type) == H5T_COMPOUND) {
    return has_table_columns(type) ? H5Type::table : H5Type::other;
  }
  for (const H5Type number : kNumbers) {
    if (H5Tequal(type, h5_number_type(number)) > 0) return number;
  }
  return H5Type::other;
}

std::vector<H5Field> h5_fields_from(hid_t table_type) {
  std::vector<H5Field> fields;
  const int count = H5Tget_nmembers(table_type);
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<unsigned>(i);
    const std::unique_ptr<char, herr_t (*)(void*)> name(H5Tget_member_name(table_type, index),
                                                        H5free_memory);
    const H5Handle member(H5Tget_member_type(table_type, index), H5Tclose);
    OFFSHOOT_CHECK(name && member, "column {}: {}", i, h5_reason());
    fields.push_back({name.get(), h5_type_from(member)});
  }
  return fields;
}

std::string_view h5_relative(std::string_view name) {
  while (name.starts_with('/')) name.remove_prefix(1);
  return name;
}

}  // namespace offshoot
