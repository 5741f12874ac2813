#include <algorithm>
#include <cstring>
#include <set>

#include "engine/error.h"
#include "engine/hdf5_driver.h"
#include "engine/hdf5_file.h"
#include "engine/hdf5_types.h"
#include "engine/xxh3.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "hdf5";
constexpr int64_t kChunkBytes = int64_t{64} << 10;    // rows from here on are chunks of their own
constexpr int64_t kChunkBytesEnd = int64_t{1} << 32;  // HDF5's limit

H5Handle quiet_list(hid_t list_class) {
  H5Handle list(H5Pcreate(list_class), H5Pclose);
  OFFSHOOT_CHECK(list && H5Pset_obj_track_times(list, false) >= 0, "{}", h5_reason());
  return list;
}

struct Space {
  H5Handle space;
  H5Handle creation;  // with the layout
};

Space space_for(const Shape& shape, int64_t row_bytes, H5Rows rows) {
  Space result;
  result.creation = quiet_list(H5P_DATASET_CREATE);
  H5Pset_fill_time(result.creation, H5D_FILL_TIME_NEVER);
  if (shape.empty()) {
    result.space = H5Handle(H5Screate(H5S_SCALAR), H5Sclose);
    return result;
  }
  const int rank = shape.rank();
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  std::vector<hsize_t> most = dims;
  if (rows == H5Rows::growing && row_bytes >= kChunkBytes && row_bytes < kChunkBytesEnd) {
    most[0] = H5S_UNLIMITED;
    std::vector<hsize_t> chunk = dims;
    chunk[0] = 1;
    OFFSHOOT_CHECK(H5Pset_chunk(result.creation, rank, chunk.data()) >= 0, "{}", h5_reason());
  }
  result.space = H5Handle(H5Screate_simple(rank, dims.data(), most.data()), H5Sclose);
  return result;
}

}  // namespace

struct H5Writer::State {
  State(AtomicFile& out, int64_t user_block_bytes) : file(out) {
    const H5Handle access = h5_write_access(out);
    const H5Handle creation = quiet_list(H5P_FILE_CREATE);
    H5Pset_userblock(creation, static_cast<hsize_t>(user_block_bytes));
    h5 = H5Handle(H5Fcreate(out.path().c_str(), H5F_ACC_TRUNC, creation, access), H5Fclose);
    if (!h5) give_up("/", "cannot be created");
  }

  // The file's own error comes first: HDF5's are its consequences.
  [[noreturn]] void give_up(std::string_view object, std::string_view what) const {
    file.check();
    fail(kName, "{}: {}: {}: {}", file.path(), object, what, h5_reason());
  }

  void make_group(const std::string& name) {
    if (name.empty() || groups.contains(name)) return;
    const size_t slash = name.rfind('/');
    if (slash != std::string::npos) make_group(name.substr(0, slash));
    const H5Handle creation = quiet_list(H5P_GROUP_CREATE);
    const H5Handle group(H5Gcreate2(h5, name.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT),
                         H5Gclose);
    if (!group) give_up(name, "the group cannot be created");
    groups.insert(name);
  }

  void write(std::string_view name, hid_t type, const Space& space,
             std::span<const std::byte> bytes) {
    const std::string path(h5_relative(name));
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos) make_group(path.substr(0, slash));
    const H5Handle dataset(
        H5Dcreate2(h5, path.c_str(), type, space.space, H5P_DEFAULT, space.creation, H5P_DEFAULT),
        H5Dclose);
    if (!dataset) give_up(path, "the dataset cannot be created");
    set_text(dataset, path, "xxh3", to_string(xxh3(bytes)));
    if (H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0) {
      give_up(path, "the dataset cannot be written");
    }
    file.check();
  }

  void set(hid_t object, const std::string& path, std::string_view name, hid_t type,
           const void* value) {
    const H5Handle scalar(H5Screate(H5S_SCALAR), H5Sclose);
    const H5Handle attribute(
        H5Acreate2(object, std::string(name).c_str(), type, scalar, H5P_DEFAULT, H5P_DEFAULT),
        H5Aclose);
    if (!attribute || H5Awrite(attribute, type, value) < 0) {
      give_up(path, fmt::format("the attribute {} cannot be written", name));
    }
  }

  void set_text(hid_t object, const std::string& path, std::string_view name,
                std::string_view text) {
    if (text.find('\0') != std::string_view::npos) {
      fail(kName, "{}: {}: attribute {}: the text holds a zero byte", file.path(), path, name);
    }
    const std::string value(text);
    const char* pointer = value.c_str();
    set(object, path, name, h5_text_type(std::nullopt), &pointer);
  }

  H5Handle open(std::string_view object) const {
    const std::string path(h5_relative(object));
    H5Handle handle(H5Oopen(h5, path.empty() ? "/" : path.c_str(), H5P_DEFAULT), H5Oclose);
    if (!handle) give_up(object, "is not there");
    return handle;
  }

  AtomicFile& file;
  H5Handle h5;
  std::set<std::string> groups;
};

H5Writer::H5Writer(AtomicFile& file, int64_t user_block_bytes)
    : state_(std::make_unique<State>(file, user_block_bytes)) {}

H5Writer::H5Writer(H5Writer&&) noexcept = default;

H5Writer::~H5Writer() {
  if (state_ && state_->h5) state_->file.abandon();
}

void H5Writer::write_bytes(std::string_view name, H5Type type, const Shape& shape,
                           std::span<const std::byte> bytes, H5Rows rows) {
  const int64_t elements = shape.size();
  const std::string& path = state_->file.path();
  if (elements < 1) fail(kName, "{}: {}: got no elements, expected at least one", path, name);
  const auto expected = elements * element_bytes(type);
  const auto got = static_cast<int64_t>(bytes.size());
  if (got != expected) fail(kName, "{}: {}: got {} bytes, expected {}", path, name, got, expected);
  const int64_t row_bytes = shape.empty() ? got : got / shape[0];
  state_->write(name, h5_number_type(type), space_for(shape, row_bytes, rows), bytes);
}

void H5Writer::write_text(std::string_view name, std::string_view text) {
  if (text.empty() || text.find('\0') != std::string_view::npos) {
    fail(kName, "{}: {}: a text is empty or holds a zero byte", state_->file.path(), name);
  }
  state_->write(name, h5_text_type(static_cast<int64_t>(text.size())),
                space_for(Shape{}, 0, H5Rows::fixed), std::as_bytes(std::span(text)));
}

void H5Writer::write_texts(std::string_view name, const std::vector<std::string>& texts) {
  size_t longest = 1;
  for (const std::string& text : texts) {
    if (text.find('\0') != std::string::npos) {
      fail(kName, "{}: {}: a text holds a zero byte", state_->file.path(), name);
    }
    longest = std::max(longest, text.size());
  }
  if (texts.empty()) fail(kName, "{}: {}: got no texts", state_->file.path(), name);
  std::string padded(texts.size() * longest, '\0');
  for (size_t i = 0; i < texts.size(); ++i) texts[i].copy(&padded[i * longest], longest);
  state_->write(name, h5_text_type(static_cast<int64_t>(longest)),
                space_for(Shape{static_cast<int64_t>(texts.size())}, 0, H5Rows::fixed),
                std::as_bytes(std::span(padded)));
}

void H5Writer::write_table(std::string_view name, const std::vector<H5Column>& columns) {
  const auto length = [](const H5Column& column) {
    return std::visit([](const auto& values) { return values.size(); }, column.values);
  };
  const size_t rows = columns.empty() ? 0 : length(columns.front());
  if (rows == 0) fail(kName, "{}: {}: got a table without rows", state_->file.path(), name);
  std::vector<H5Field> fields;
  std::vector<std::byte> packed(8 * rows * columns.size());
  for (size_t c = 0; c < columns.size(); ++c) {
    if (length(columns[c]) != rows) {
      fail(kName, "{}: {}: column {}: got {} rows, expected {}", state_->file.path(), name,
           columns[c].name, length(columns[c]), rows);
    }
    const bool integers = std::holds_alternative<std::vector<int64_t>>(columns[c].values);
    fields.push_back({columns[c].name, integers ? H5Type::i64 : H5Type::f64});
    std::visit(
        [&](const auto& values) {
          for (size_t r = 0; r < rows; ++r) {
            std::memcpy(&packed[8 * (r * columns.size() + c)], &values[r], 8);
          }
        },
        columns[c].values);
  }
  state_->write(name, h5_table_type(fields),
                space_for(Shape{static_cast<int64_t>(rows)}, 0, H5Rows::fixed), packed);
}

void H5Writer::set_attribute(std::string_view object, std::string_view name,
                             std::string_view text) {
  state_->set_text(state_->open(object), std::string(object), name, text);
}

void H5Writer::set_integer(std::string_view object, std::string_view name, int64_t value) {
  state_->set(state_->open(object), std::string(object), name, H5T_NATIVE_INT64, &value);
}

void H5Writer::set_number(std::string_view object, std::string_view name, double value) {
  state_->set(state_->open(object), std::string(object), name, H5T_NATIVE_DOUBLE, &value);
}

void H5Writer::close() {
  if (!state_->h5.close()) state_->give_up("/", "cannot be closed");
  state_->file.check();
}

}  // namespace offshoot
