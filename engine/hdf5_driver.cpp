#include "engine/hdf5_driver.h"

#include <algorithm>
#include <new>
#include <vector>

#include "engine/error.h"

namespace offshoot {
namespace {

// Where a file's bytes go or come from; travels in the file access list.
struct Target {
  AtomicFile* out;
  const InputFile* in;
};

// The library sees the first member.
struct DriverFile {
  H5FD_t base;
  Target target;
  haddr_t allocated;  // HDF5's "end of allocation"
};

DriverFile& as_file(H5FD_t* file) { return *reinterpret_cast<DriverFile*>(file); }
const DriverFile& as_file(const H5FD_t* file) { return *reinterpret_cast<const DriverFile*>(file); }

H5FD_t* open_file(const char*, unsigned, hid_t access, haddr_t) {
  const void* info = H5Pget_driver_info(access);
  if (info == nullptr) return nullptr;
  auto* file = new (std::nothrow) DriverFile{};
  if (file == nullptr) return nullptr;
  file->target = *static_cast<const Target*>(info);
  return &file->base;
}

herr_t close_file(H5FD_t* file) {
  delete &as_file(file);
  return 0;
}

int compare(const H5FD_t* a, const H5FD_t* b) {
  const Target& x = as_file(a).target;
  const Target& y = as_file(b).target;
  if (x.out != y.out) return std::less<>()(x.out, y.out) ? -1 : 1;
  if (x.in != y.in) return std::less<>()(x.in, y.in) ? -1 : 1;
  return 0;
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

haddr_t allocated(const H5FD_t* file, H5FD_mem_t) { return as_file(file).allocated; }

herr_t set_allocated(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  as_file(file).allocated = address;
  return 0;
}

haddr_t end_of_file(const H5FD_t* file, H5FD_mem_t) {
  const DriverFile& self = as_file(file);
  // After an error the library must not notice that bytes are missing.
  if (self.target.out == nullptr) return static_cast<haddr_t>(self.target.in->size());
  if (self.target.out->error() != 0) return self.allocated;
  return static_cast<haddr_t>(self.target.out->size());
}

herr_t read_bytes(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* buffer) {
  const Target& target = as_file(file).target;
  const std::span bytes(static_cast<std::byte*>(buffer), size);
  const auto offset = static_cast<int64_t>(address);
  if (offset < 0) return -1;
  if (target.out != nullptr) {
    target.out->read(offset, bytes);
    return 0;
  }
  try {
    const int64_t count = target.in->read(offset, bytes);
    std::fill(bytes.begin() + count, bytes.end(), std::byte{0});
    return 0;
  } catch (const Error&) {
    return -1;  // through C code; the reader reports that HDF5 could not read
  }
}

herr_t write_bytes(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size,
                   const void* buffer) {
  AtomicFile* out = as_file(file).target.out;
  if (out == nullptr) return -1;
  out->write(static_cast<int64_t>(address), {static_cast<const std::byte*>(buffer), size});
  return 0;
}

herr_t truncate(H5FD_t* file, hid_t, hbool_t) {
  DriverFile& self = as_file(file);
  if (self.target.out != nullptr) self.target.out->truncate(static_cast<int64_t>(self.allocated));
  return 0;
}

H5FD_class_t make_class() {
  H5FD_class_t driver{};
  driver.name = "offshoot";
  driver.maxaddr = (haddr_t{1} << 62) - 1;
  driver.fc_degree = H5F_CLOSE_STRONG;
  driver.fapl_size = sizeof(Target);
  driver.open = open_file;
  driver.close = close_file;
  driver.cmp = compare;
  driver.query = query;
  driver.get_eoa = allocated;
  driver.set_eoa = set_allocated;
  driver.get_eof = end_of_file;
  driver.read = read_bytes;
  driver.write = write_bytes;
  driver.truncate = truncate;
  const H5FD_mem_t dichotomy[] = H5FD_FLMAP_DICHOTOMY;
  std::copy(std::begin(dichotomy), std::end(dichotomy), driver.fl_map);
  return driver;
}

H5Handle access_list(const Target& target) {
  static const H5FD_class_t driver = make_class();
  static const hid_t driver_id = H5FDregister(&driver);
  h5_be_quiet();
  H5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  OFFSHOOT_CHECK(driver_id >= 0 && access, "{}", h5_reason());
  OFFSHOOT_CHECK(H5Pset_driver(access, driver_id, &target) >= 0, "{}", h5_reason());
  return access;
}

}  // namespace

H5Handle h5_write_access(AtomicFile& file) {
  H5Handle access = access_list({&file, nullptr});
  // 1.8's format: metadata with checksums, no time stamps unless asked, read by every tool.
  H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
  H5Pset_meta_block_size(access, hsize_t{64} << 10);
  H5AC_cache_config_t cache{};
  cache.version = H5AC__CURR_CACHE_CONFIG_VERSION;
  H5Pget_mdc_config(access, &cache);
  cache.evictions_enabled = false;
  cache.incr_mode = H5C_incr__off;
  cache.flash_incr_mode = H5C_flash_incr__off;
  cache.decr_mode = H5C_decr__off;
  OFFSHOOT_CHECK(H5Pset_mdc_config(access, &cache) >= 0, "{}", h5_reason());
  return access;
}

H5Handle h5_read_access(const InputFile& file) { return access_list({nullptr, &file}); }

}  // namespace offshoot
