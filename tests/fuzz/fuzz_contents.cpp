// Well-formed HDF5 files with arbitrary contents behind a right hash, read and loaded in this
// process: our reader's part, as the HDF5 library itself is not to be blamed for such files.
#include <fuzzer/FuzzedDataProvider.h>
#include <hdf5.h>

#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/hdf5_walk.h"
#include "engine/partial_load.h"
#include "tests/engine/broken_file.h"
#include "tests/engine/file_test.h"
#include "tests/engine/small_run.h"
#include "tests/fuzz/memory_file.h"

namespace offshoot {
namespace {

using testing::MemoryFile;
using testing::SmallRun;

// Of a SmallRun's file, so that what is written meets what is asked for.
constexpr std::array kNames{"/configuration",
                            "/model",
                            "/model/head.weight",
                            "/model/block.moe.fc1.weight",
                            "/model/extra",
                            "/growth",
                            "/growth/block.moe",
                            "/growth/block.moe/ids",
                            "/growth/block.moe/next_id",
                            "/growth/block.moe/log",
                            "/growth/block.moe/policies",
                            "/lineage/block.moe",
                            "/optimizer/block.moe.fc1.weight/exp_avg",
                            "/data",
                            "/data/position",
                            "/data/stopped",
                            "/data/rate",
                            "/data/losses",
                            "/data/note",
                            "/data/events",
                            "/"};
constexpr std::array kAttributes{"format", "format_version", "step", "seed", "xxh3", "other"};

hid_t copy_of(hid_t type, size_t bytes) {
  const hid_t copy = H5Tcopy(type);
  H5Tset_size(copy, bytes);
  return copy;
}

hid_t any_type(FuzzedDataProvider& input) {
  switch (input.ConsumeIntegralInRange(0, 13)) {
    case 0:
      return H5Tcopy(H5T_IEEE_F32LE);
    case 1:
      return H5Tcopy(H5T_IEEE_F64LE);
    case 2:
      return H5Tcopy(H5T_STD_I32LE);
    case 3:
      return H5Tcopy(H5T_STD_I64LE);
    case 4:
      return H5Tcopy(H5T_STD_U8LE);
    case 5:
      return H5Tcopy(H5T_STD_U64LE);
    case 6:
      return H5Tcopy(H5T_IEEE_F64BE);
    case 7:
      return H5Tcopy(H5T_STD_I16BE);
    case 8:
      return copy_of(H5T_C_S1, input.ConsumeIntegralInRange<size_t>(1, 64));
    case 9:
      return copy_of(H5T_C_S1, H5T_VARIABLE);
    case 10:
      return H5Tvlen_create(H5T_STD_I32LE);
    case 11:
      return H5Tcreate(H5T_OPAQUE, input.ConsumeIntegralInRange<size_t>(1, 16));
    case 12:
      return H5Tcopy(H5T_STD_REF_OBJ);
    default: {
      const auto columns = input.ConsumeIntegralInRange<size_t>(1, 6);
      const hid_t type = H5Tcreate(H5T_COMPOUND, 8 * columns);
      constexpr std::array names{"kind", "source_id", "new_id", "step", "policy", "gain"};
      for (size_t i = 0; i < columns; ++i) {
        H5Tinsert(type, names.at(i), 8 * i, input.ConsumeBool() ? H5T_STD_I64LE : H5T_IEEE_F64LE);
      }
      return type;
    }
  }
}

// An attribute's bytes are written with it, so there no size may be a mere claim.
hid_t any_space(FuzzedDataProvider& input, bool claims) {
  std::vector<hsize_t> shape(input.ConsumeIntegralInRange<size_t>(0, 4));
  for (hsize_t& size : shape) {
    size = !claims || input.ConsumeBool() ? input.ConsumeIntegralInRange<hsize_t>(0, 4)
                                          : input.ConsumeIntegral<uint64_t>();
  }
  if (shape.empty()) return H5Screate(H5S_SCALAR);
  return H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
}

// Bytes for every element, where they are few; types of pointers get none.
std::vector<uint8_t> any_bytes(FuzzedDataProvider& input, hid_t type, hid_t space) {
  const hssize_t count = H5Sget_simple_extent_npoints(space);
  const bool pointers = H5Tdetect_class(type, H5T_VLEN) > 0 || H5Tis_variable_str(type) > 0 ||
                        H5Tdetect_class(type, H5T_REFERENCE) > 0;
  if (pointers || count < 1 || count > 4096) return {};
  std::vector<uint8_t> bytes =
      input.ConsumeBytes<uint8_t>(static_cast<size_t>(count) * H5Tget_size(type));
  bytes.resize(static_cast<size_t>(count) * H5Tget_size(type));
  return bytes;
}

void write_dataset(FuzzedDataProvider& input, hid_t file, const std::string& name) {
  const hid_t type = any_type(input), space = any_space(input, true);
  const hid_t links = H5Pcreate(H5P_LINK_CREATE), create = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_create_intermediate_group(links, 1);
  if (input.ConsumeBool() && H5Sget_simple_extent_ndims(space) > 0) {
    const std::vector<hsize_t> chunk(static_cast<size_t>(H5Sget_simple_extent_ndims(space)), 2);
    H5Pset_chunk(create, static_cast<int>(chunk.size()), chunk.data());
    if (input.ConsumeBool()) H5Pset_deflate(create, 1);
  }
  const hid_t data = H5Dcreate2(file, name.c_str(), type, space, links, create, H5P_DEFAULT);
  if (data >= 0) {
    const std::vector<uint8_t> bytes = any_bytes(input, type, space);
    if (!bytes.empty()) H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data());
    H5Dclose(data);
  }
  H5Pclose(create);
  H5Pclose(links);
  H5Sclose(space);
  H5Tclose(type);
}

void write_attribute(FuzzedDataProvider& input, hid_t file, const std::string& object) {
  const char* name = input.PickValueInArray(kAttributes);
  H5Adelete_by_name(file, object.c_str(), name, H5P_DEFAULT);
  const hid_t type = any_type(input), space = any_space(input, false);
  const hid_t attribute = H5Acreate_by_name(file, object.c_str(), name, type, space, H5P_DEFAULT,
                                            H5P_DEFAULT, H5P_DEFAULT);
  if (attribute >= 0) {
    const std::vector<uint8_t> bytes = any_bytes(input, type, space);
    if (!bytes.empty()) H5Awrite(attribute, type, bytes.data());
    H5Aclose(attribute);
  }
  H5Sclose(space);
  H5Tclose(type);
}

void edit(FuzzedDataProvider& input, hid_t file) {
  const std::string name = input.ConsumeBool() ? input.PickValueInArray(kNames)
                                               : "/" + input.ConsumeRandomLengthString(12);
  const char* other = input.PickValueInArray(kNames);
  switch (input.ConsumeIntegralInRange(0, 6)) {
    case 0:
      H5Ldelete(file, name.c_str(), H5P_DEFAULT);
      [[fallthrough]];
    case 1:
      write_dataset(input, file, name);
      break;
    case 2:
      write_attribute(input, file, name);
      break;
    case 3:
      H5Ldelete(file, name.c_str(), H5P_DEFAULT);
      break;
    case 4:
      H5Lcreate_hard(file, other, file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT);
      break;
    case 5:
      H5Lcreate_soft(other, file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT);
      break;
    default: {
      const hid_t group = H5Gcreate2(file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
      if (group >= 0) H5Gclose(group);
    }
  }
}

std::string good_file() {
  SmallRun run;
  live(run);
  // A save replaces its file, so a name in memory will not do.
  const std::string path = fmt::format("/tmp/offshoot-fuzz-{}.h5", ::getpid());
  save(path, run);
  std::string bytes = bytes_of(path);
  ::unlink(path.c_str());
  return bytes;
}

// The good file, edited in memory.
std::string edited(FuzzedDataProvider& input) {
  static const std::string good = good_file();
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_fapl_core(access, 1 << 16, false);
  H5Pset_file_image(access, const_cast<char*>(good.data()), good.size());
  const hid_t file = H5Fopen("image", H5F_ACC_RDWR, access);
  if (file < 0) std::abort();
  while (input.remaining_bytes() > 0) edit(input, file);
  H5Fflush(file, H5F_SCOPE_GLOBAL);
  const ssize_t size = H5Fget_file_image(file, nullptr, 0);
  std::string bytes(static_cast<size_t>(std::max<ssize_t>(size, 0)), '\0');
  if (size > 0) H5Fget_file_image(file, bytes.data(), bytes.size());
  H5Fclose(file);
  H5Pclose(access);
  return testing::sealed(bytes);
}

template <class F>
void expect_error_or_nothing(const MemoryFile& file, F f) {
  try {
    f();
  } catch (const Error& error) {
    const std::string_view text = error.what();
    if (text.find('\n') != std::string_view::npos) std::abort();
    if (text.find(file.path()) == std::string_view::npos) std::abort();
  }
}

}  // namespace
}  // namespace offshoot

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace offshoot;
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  FuzzedDataProvider input(data, size);
  const MemoryFile file(edited(input));
  expect_error_or_nothing(file, [&] {
    const CheckpointReader reader(file.path());
    expect_error_or_nothing(file, [&] { read_configuration(reader); });
    expect_error_or_nothing(file, [&] { h5_walk(reader.h5()); });
    SmallRun run;
    expect_error_or_nothing(file, [&] { load_checkpoint(reader, run, run.parts()); });
    SmallRun some;
    expect_error_or_nothing(
        file, [&] { load_parameters(reader, some, [](std::string_view) { return true; }); });
  });
  return 0;
}
