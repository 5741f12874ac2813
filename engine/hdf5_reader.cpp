#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "engine/error.h"
#include "engine/hdf5_driver.h"
#include "engine/hdf5_file.h"
#include "engine/hdf5_state.h"
#include "engine/hdf5_types.h"
#include "engine/hdf5_walk.h"
#include "engine/xxh3.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "hdf5";
constexpr std::array<unsigned char, 8> kSignature{0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
constexpr int kMaxDepth = 64;
// Deflate packs at most 1032 bytes into one.
constexpr int64_t kMaxRatio = 1032;

// HDF5 looks for its signature at 0, 512, 1024, 2048, ...
bool has_signature(const InputFile& file) {
  for (int64_t at = 0; at < file.size(); at = at == 0 ? 512 : 2 * at) {
    std::array<std::byte, kSignature.size()> bytes{};
    file.read(at, bytes);
    if (std::memcmp(bytes.data(), kSignature.data(), bytes.size()) == 0) return true;
  }
  return false;
}

struct Link {
  std::string name;
  H5L_type_t type;
};

herr_t collect_link(hid_t, const char* name, const H5L_info_t* info, void* links) noexcept {
  static_cast<std::vector<Link>*>(links)->push_back({name, info->type});
  return 0;
}

}  // namespace

std::string h5_absolute(std::string_view name) { return fmt::format("/{}", h5_relative(name)); }

H5Handle h5_variable_text(hid_t type) {
  H5Handle text = h5_text_type(std::nullopt);
  H5Tset_cset(text, H5Tget_cset(type));
  return text;
}

H5Reader::State::State(InputFile in) : file(std::move(in)) {
  if (!has_signature(file)) fail(kName, "{}: is not an HDF5 file", file.path());
}

void H5Reader::State::open() {
  const H5Handle access = h5_read_access(file);
  h5 = H5Handle(H5Fopen(file.path().c_str(), H5F_ACC_RDONLY, access), H5Fclose);
  if (!h5) give_up("/", "cannot be opened");
}

void H5Reader::State::give_up(std::string_view object, std::string_view what) const {
  fail(kName, "{}: {}: {}: {}", file.path(), printable(object.empty() ? "/" : object), what,
       h5_reason());
}

bool H5Reader::State::has(std::string_view name) const {
  const std::string path(h5_relative(name));
  for (size_t slash = 0; slash != std::string::npos && !path.empty();) {
    slash = path.find('/', slash + 1);
    const htri_t exists = H5Lexists(h5, path.substr(0, slash).c_str(), H5P_DEFAULT);
    if (exists == 0 || (exists < 0 && !lies_in_group(path.substr(0, slash)))) return false;
    // A part of the file that cannot be read is not one that is missing.
    if (exists < 0) give_up(path.substr(0, slash), "cannot be looked up");
  }
  return true;
}

// Whether the parent of `path`, which is there, is a group; also when that cannot be told.
bool H5Reader::State::lies_in_group(const std::string& path) const {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return true;
  H5O_info_t info{};
  return H5Oget_info_by_name2(h5, path.substr(0, slash).c_str(), &info, H5O_INFO_BASIC,
                              H5P_DEFAULT) < 0 ||
         info.type == H5O_TYPE_GROUP;
}

H5O_info_t H5Reader::State::object(std::string_view name) const {
  if (!has(name)) refuse(name, "is missing");
  const std::string path = h5_absolute(name);
  H5O_info_t info{};
  if (H5Oget_info_by_name2(h5, path.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) {
    give_up(name, "cannot be read");
  }
  return info;
}

std::vector<std::string> H5Reader::State::children(std::string_view group) const {
  if (object(group).type != H5O_TYPE_GROUP) refuse(group, "is not a group");
  const std::string path = h5_absolute(group);
  std::vector<Link> links;
  hsize_t next = 0;
  if (H5Literate_by_name(h5, path.c_str(), H5_INDEX_NAME, H5_ITER_INC, &next, collect_link, &links,
                         H5P_DEFAULT) < 0) {
    give_up(group, "cannot be listed");
  }
  std::vector<std::string> names;
  for (const Link& link : links) {
    if (link.type != H5L_TYPE_HARD) refuse(group, "{}: is a soft or external link", link.name);
    names.push_back(link.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void H5Reader::State::each_object(
    const std::string& name, std::set<haddr_t>& groups, int depth,
    const std::function<void(const std::string&, H5O_type_t)>& f) const {
  const H5O_info_t info = object(name);
  f(name, info.type);
  if (info.type != H5O_TYPE_GROUP) return;
  if (depth > kMaxDepth || !groups.insert(info.addr).second) {
    refuse(name, "groups are linked in a cycle, more than once, or deeper than {}", kMaxDepth);
  }
  for (const std::string& child : children(name)) {
    each_object(name.empty() ? child : name + "/" + child, groups, depth + 1, f);
  }
}

std::vector<std::string> H5Reader::State::below(
    std::string_view group, const std::function<bool(H5O_type_t)>& wanted) const {
  std::vector<std::string> names;
  std::set<haddr_t> groups;
  each_object(std::string(h5_relative(group)), groups, 0,
              [&](const std::string& name, H5O_type_t type) {
                if (wanted(type)) names.push_back(name);
              });
  std::sort(names.begin(), names.end());
  return names;
}

H5Dataset H5Reader::State::dataset(std::string_view name) const {
  if (object(name).type != H5O_TYPE_DATASET) refuse(name, "is not a dataset");
  const std::string path(h5_relative(name));
  H5Dataset data;
  data.handle = H5Handle(H5Dopen2(h5, path.c_str(), H5P_DEFAULT), H5Dclose);
  if (!data.handle) give_up(name, "cannot be opened");
  data.type = H5Handle(H5Dget_type(data.handle), H5Tclose);
  data.space = H5Handle(H5Dget_space(data.handle), H5Sclose);
  const int rank = data.space ? H5Sget_simple_extent_ndims(data.space) : -1;
  if (!data.type || rank < 0) give_up(name, "has no type or shape");
  std::vector<hsize_t> dims(static_cast<size_t>(rank));
  if (H5Sget_simple_extent_dims(data.space, dims.data(), nullptr) < 0) {
    give_up(name, "has no shape");
  }
  if (H5Sget_simple_extent_type(data.space) == H5S_NULL) dims.assign(1, 0);
  data.shape = shape_from(name, dims);
  data.known = h5_type_from(data.type);
  check_size(name, data);
  return data;
}

Shape H5Reader::State::shape_from(std::string_view name, const std::vector<hsize_t>& dims) const {
  const std::vector<int64_t> sizes(dims.begin(), dims.end());
  int64_t product = 1;
  bool valid = std::ssize(sizes) <= Shape::kMaxRank;
  for (const int64_t size : sizes) {
    valid = valid && size >= 0 && !__builtin_mul_overflow(product, size, &product) &&
            product <= Shape::kMaxSize;
  }
  if (!valid) {
    refuse(name, "got {} axes, expected at most {} and 2^59 elements", sizes.size(),
           Shape::kMaxRank);
  }
  return Shape(sizes);
}

void H5Reader::State::check_size(std::string_view name, const H5Dataset& data) const {
  const H5Handle creation(H5Dget_create_plist(data.handle), H5Pclose);
  if (!creation) give_up(name, "has no layout");
  if (H5Pget_layout(creation) == H5D_VIRTUAL || H5Pget_external_count(creation) > 0) {
    refuse(name, "its bytes lie in another file");
  }
  const auto stored = static_cast<int64_t>(H5Dget_storage_size(data.handle));
  const int64_t ratio = H5Pget_nfilters(creation) > 0 ? kMaxRatio : 1;
  const auto element = static_cast<int64_t>(H5Tget_size(data.type));
  int64_t claimed = 0;
  if (stored < 0 || stored > file.size() ||
      __builtin_mul_overflow(data.shape.size(), element, &claimed) || claimed / ratio > stored) {
    refuse(name, "got shape {} of {} bytes an element, but the file holds only {} bytes of it",
           to_string(data.shape), element, std::min(stored, file.size()));
  }
}

void H5Reader::State::read(std::string_view name, const H5Dataset& data, hid_t memory_type,
                           void* out) const {
  if (data.shape.size() > 0 &&
      H5Dread(data.handle, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0) {
    give_up(name, "cannot be read");
  }
}

void H5Reader::State::expect_type(std::string_view name, const H5Dataset& data, H5Type type) const {
  if (data.known == type) return;
  refuse(name, "got {}, expected {}", offshoot::to_string(data.known), offshoot::to_string(type));
}

std::optional<std::string> H5Reader::State::expected_hash(std::string_view name,
                                                          const H5Dataset& data) const {
  if (H5Aexists(data.handle, "xxh3") <= 0) return std::nullopt;
  return text_attribute(name, "xxh3");
}

void H5Reader::State::check_hash(std::string_view name, const H5Dataset& data,
                                 std::span<const std::byte> bytes) const {
  const std::optional<std::string> expected = expected_hash(name, data);
  if (!expected) return;
  const std::string got = offshoot::to_string(xxh3(bytes));
  if (got != *expected) refuse(name, "is damaged: got xxh3 {}, expected {}", got, *expected);
}

std::vector<std::string> H5Reader::State::texts(std::string_view name,
                                                const H5Dataset& data) const {
  if (data.known != H5Type::text) refuse(name, "is not text");
  std::vector<std::string> result;
  if (H5Tis_variable_str(data.type) > 0) {
    std::vector<char*> pointers(static_cast<size_t>(data.shape.size()), nullptr);
    const H5Handle type = h5_variable_text(data.type);
    read(name, data, type, pointers.data());
    for (const char* pointer : pointers) result.emplace_back(pointer ? pointer : "");
    if (data.shape.size() > 0) H5Dvlen_reclaim(type, data.space, H5P_DEFAULT, pointers.data());
    return result;
  }
  const size_t width = H5Tget_size(data.type);
  std::string padded(static_cast<size_t>(data.shape.size()) * width, '\0');
  read(name, data, data.type, padded.data());
  check_hash(name, data, std::as_bytes(std::span(padded)));
  for (size_t at = 0; at < padded.size(); at += width) {
    const std::string_view text = std::string_view(padded).substr(at, width);
    result.emplace_back(text.substr(0, text.find('\0')));
  }
  return result;
}

std::vector<H5Column> H5Reader::State::table(std::string_view name, const H5Dataset& data) const {
  if (data.known != H5Type::table || data.shape.rank() != 1) refuse(name, "is not a table");
  const std::vector<H5Field> fields = h5_fields_from(data.type);
  const size_t rows = static_cast<size_t>(data.shape.size());
  std::vector<std::byte> packed(8 * rows * fields.size());
  read(name, data, h5_table_type(fields), packed.data());
  check_hash(name, data, packed);
  std::vector<H5Column> columns;
  for (size_t c = 0; c < fields.size(); ++c) {
    const auto unpack = [&]<class T>(std::vector<T> values) {
      for (size_t r = 0; r < rows; ++r) {
        std::memcpy(&values[r], &packed[8 * (r * fields.size() + c)], 8);
      }
      columns.push_back({fields[c].name, std::move(values)});
    };
    if (fields[c].type == H5Type::i64) {
      unpack(std::vector<int64_t>(rows));
    } else {
      unpack(std::vector<double>(rows));
    }
  }
  return columns;
}

H5Reader::H5Reader(InputFile file, Trust trust) : state_(std::make_unique<State>(std::move(file))) {
  if (trust == Trust::none) h5_walk_in_child(state_->file);
  state_->open();
}

H5Reader::H5Reader(H5Reader&&) noexcept = default;
H5Reader::~H5Reader() = default;

const std::string& H5Reader::path() const { return state_->file.path(); }

bool H5Reader::has(std::string_view name) const { return state_->has(name); }

bool H5Reader::is_group(std::string_view name) const {
  return state_->object(name).type == H5O_TYPE_GROUP;
}

std::vector<std::string> H5Reader::children(std::string_view group) const {
  return state_->children(group);
}

std::vector<std::string> H5Reader::datasets(std::string_view group) const {
  return state_->below(group, [](H5O_type_t type) { return type == H5O_TYPE_DATASET; });
}

std::vector<std::string> H5Reader::objects(std::string_view group) const {
  return state_->below(group, [](H5O_type_t) { return true; });
}

H5Info H5Reader::info(std::string_view dataset) const {
  const H5Dataset data = state_->dataset(dataset);
  return {data.known, data.shape};
}

int64_t H5Reader::stored_bytes(std::string_view dataset) const {
  return static_cast<int64_t>(H5Dget_storage_size(state_->dataset(dataset).handle));
}

int64_t H5Reader::count(std::string_view dataset) const {
  return state_->dataset(dataset).shape.size();
}

void H5Reader::read_bytes(std::string_view dataset, H5Type type, std::span<std::byte> bytes) const {
  const H5Dataset data = state_->dataset(dataset);
  state_->expect_type(dataset, data, type);
  const auto got = data.shape.size() * element_bytes(type);
  if (got != static_cast<int64_t>(bytes.size())) {
    state_->refuse(dataset, "got {} bytes, expected {}", got, bytes.size());
  }
  state_->read(dataset, data, h5_number_type(type), bytes.data());
  state_->check_hash(dataset, data, bytes);
}

void H5Reader::expect(std::string_view dataset, const H5Info& expected) const {
  const H5Info got = info(dataset);
  if (got == expected) return;
  state_->refuse(dataset, "got {} {}, expected {} {}", to_string(got.type), to_string(got.shape),
                 to_string(expected.type), to_string(expected.shape));
}

std::string H5Reader::read_text(std::string_view dataset) const {
  const H5Dataset data = state_->dataset(dataset);
  if (data.shape.size() != 1) state_->refuse(dataset, "is not one text");
  return state_->texts(dataset, data).front();
}

std::vector<std::string> H5Reader::read_texts(std::string_view dataset) const {
  return state_->texts(dataset, state_->dataset(dataset));
}

std::vector<H5Column> H5Reader::read_table(std::string_view dataset) const {
  return state_->table(dataset, state_->dataset(dataset));
}

}  // namespace offshoot
