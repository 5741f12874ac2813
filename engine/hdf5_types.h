// Our element types as HDF5 datatypes, and back. Included by the HDF5 layer only (hdf5_*.cpp).
#pragma once

#include <hdf5.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/hdf5_file.h"
#include "engine/hdf5_handle.h"

namespace offshoot {

// The library's own handle of a number type.
hid_t h5_number_type(H5Type type);

// UTF-8 of `bytes` bytes, padded with zeros; of variable length without a size.
H5Handle h5_text_type(std::optional<int64_t> bytes);

struct H5Field {
  std::string name;
  H5Type type;  // i64 or f64
};
// 8 bytes a field, in order, without gaps.
H5Handle h5_table_type(const std::vector<H5Field>& fields);

H5Type h5_type_from(hid_t type);
// Throws Error on a column of another type.
std::vector<H5Field> h5_fields_from(hid_t table_type);

// "/a/b" -> "a/b".
std::string_view h5_relative(std::string_view name);

}  // namespace offshoot
