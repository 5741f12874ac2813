// Datasets that need not fit into memory, read piece by piece.
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "engine/hdf5_file.h"
#include "engine/hdf5_state.h"
#include "engine/hdf5_types.h"
#include "engine/xxh3.h"

namespace offshoot {
namespace {

constexpr hsize_t kMostCachedBytes = hsize_t{128} << 20;

// A shape cut into boxes of elements that lie behind one another in row-major order: whole along
// the axes behind `axis`, one index along those before it.
class Slabs {
 public:
  // Of at most `most` elements, and at least one.
  Slabs(const Shape& shape, int64_t most) : shape_(shape), axis_(shape.rank() - 1) {
    if (shape.size() == 0) return;
    while (axis_ > 0 && row_ * shape[axis_] <= most) row_ *= shape[axis_--];
    step_ = std::max<int64_t>(1, most / row_);
    const auto rank = static_cast<size_t>(shape.rank());
    start.assign(rank, 0);
    count.assign(rank, 1);
    for (int i = axis_ + 1; i < shape.rank(); ++i) {
      count[static_cast<size_t>(i)] = static_cast<hsize_t>(shape[i]);
    }
  }

  // Moves on to the next one. False at the end.
  bool next() {
    if (first_ >= shape_.size()) return false;
    if (shape_.rank() == 0) return elements = 1, ++first_, true;
    int64_t rest = first_ / row_;  // the row is whole: counts those along `axis` and before it
    const int64_t at = rest % shape_[axis_];
    const int64_t rows = std::min(step_, shape_[axis_] - at);
    for (int i = axis_; i >= 0; rest /= shape_[i--]) {
      start[static_cast<size_t>(i)] = static_cast<hsize_t>(rest % shape_[i]);
    }
    count[static_cast<size_t>(axis_)] = static_cast<hsize_t>(rows);
    elements = rows * row_;
    first_ += elements;
    return true;
  }

  std::vector<hsize_t> start;
  std::vector<hsize_t> count;
  int64_t elements = 0;

 private:
  Shape shape_;
  int axis_;
  int64_t row_ = 1;   // elements behind one index of `axis_`
  int64_t step_ = 1;  // indices of `axis_` in a slab
  int64_t first_ = 0;
};

// Bytes of a chunk that filters pack; 0 where there are none.
hsize_t packed_chunk_bytes(hid_t dataset, hid_t type) {
  const H5Handle created(H5Dget_create_plist(dataset), H5Pclose);
  if (!created || H5Pget_layout(created) != H5D_CHUNKED || H5Pget_nfilters(created) < 1) return 0;
  std::array<hsize_t, H5S_MAX_RANK> sides{};
  const int rank = H5Pget_chunk(created, H5S_MAX_RANK, sides.data());
  hsize_t bytes = H5Tget_size(type);
  for (int i = 0; i < rank; ++i) bytes *= sides.at(static_cast<size_t>(i));
  return bytes;
}

}  // namespace

struct H5Pieces::State {
  State(const H5Reader::State& f, std::string_view dataset, int64_t piece_bytes)
      : file(f),
        name(dataset),
        data(f.dataset(dataset)),
        element(element_bytes(data.known)),
        slabs(data.shape, element == 0 ? 1 : std::max<int64_t>(1, piece_bytes / element)),
        expected(f.expected_hash(dataset, data)) {
    if (element == 0) file.refuse(name, "got {}, expected numbers", to_string(data.known));
    keep_chunk();
  }

  // A chunk that filters pack is unpacked anew for each of its pieces unless the cache, 1 MiB as it
  // comes, holds it.
  void keep_chunk() {
    const hsize_t bytes = packed_chunk_bytes(data.handle, data.type);
    if (bytes == 0 || bytes > kMostCachedBytes) return;
    const H5Handle access(H5Pcreate(H5P_DATASET_ACCESS), H5Pclose);
    const std::string path(h5_relative(name));
    constexpr size_t kSlots = 521;
    constexpr double kReadOnes = 1;  // are the first to go
    if (access && H5Pset_chunk_cache(access, kSlots, bytes, kReadOnes) >= 0) {
      data.handle = H5Handle();  // HDF5 shares the cache of a dataset that is open already
      data.handle = H5Handle(H5Dopen2(file.h5, path.c_str(), access), H5Dclose);
    }
    if (!data.handle) file.give_up(name, "cannot be opened");
  }

  std::span<const std::byte> next() {
    if (!slabs.next()) {
      const std::string got = to_string(hash.digest());
      if (expected && got != *expected) {
        file.refuse(name, "is damaged: got xxh3 {}, expected {}", got, *expected);
      }
      return {};
    }
    buffer.resize(static_cast<size_t>(element * slabs.elements));
    const auto elements = static_cast<hsize_t>(slabs.elements);
    const bool scalar = data.shape.rank() == 0;
    const H5Handle memory(scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &elements, nullptr),
                          H5Sclose);
    const bool selected =
        memory && (scalar || H5Sselect_hyperslab(data.space, H5S_SELECT_SET, slabs.start.data(),
                                                 nullptr, slabs.count.data(), nullptr) >= 0);
    if (!selected || H5Dread(data.handle, h5_number_type(data.known), memory, data.space,
                             H5P_DEFAULT, buffer.data()) < 0) {
      file.give_up(name, "cannot be read");
    }
    hash.update(buffer);
    return buffer;
  }

  const H5Reader::State& file;
  std::string name;
  H5Dataset data;
  int64_t element;
  Slabs slabs;
  std::optional<std::string> expected;
  std::vector<std::byte> buffer;
  Xxh3Stream hash;
};

H5Pieces::H5Pieces(const H5Reader& file, std::string_view dataset, int64_t piece_bytes)
    : state_(std::make_unique<State>(*file.state_, dataset, piece_bytes)) {}
H5Pieces::~H5Pieces() = default;

std::span<const std::byte> H5Pieces::next() { return state_->next(); }

void H5Reader::each_piece(std::string_view dataset, int64_t piece_bytes, const Piece& f) const {
  const H5Info of = info(dataset);
  H5Pieces pieces(*this, dataset, piece_bytes);
  int64_t first = 0;
  for (auto bytes = pieces.next(); !bytes.empty(); bytes = pieces.next()) {
    f(first, bytes);
    first += std::ssize(bytes) / element_bytes(of.type);
  }
}

}  // namespace offshoot
