// Datasets that need not fit into memory, read piece by piece.
#include <algorithm>
#include <vector>

#include "engine/hdf5_file.h"
#include "engine/hdf5_state.h"
#include "engine/hdf5_types.h"
#include "engine/xxh3.h"

namespace offshoot {
namespace {

// A box of elements that lie behind one another in row-major order.
struct Slab {
  std::vector<hsize_t> start;
  std::vector<hsize_t> count;
  int64_t elements = 1;
};

// Cuts `shape`, of at least one axis, into slabs of at most `most` elements, in order: whole along
// the axes behind `axis`, one index along those before it.
void each_slab(const Shape& shape, int64_t most, const std::function<void(const Slab&)>& f) {
  int axis = shape.rank() - 1;
  int64_t row = 1;  // elements behind one index of `axis`
  while (axis > 0 && row * shape[axis] <= most) row *= shape[axis--];
  const int64_t step = std::max<int64_t>(1, most / row);
  const auto rank = static_cast<size_t>(shape.rank());
  Slab slab{std::vector<hsize_t>(rank, 0), std::vector<hsize_t>(rank, 1), 1};
  for (int i = axis + 1; i < shape.rank(); ++i) {
    slab.count[static_cast<size_t>(i)] = static_cast<hsize_t>(shape[i]);
  }
  const int64_t outer = shape.size() / (row * shape[axis]);
  for (int64_t index = 0; index < outer; ++index) {
    int64_t rest = index;
    for (int i = axis - 1; i >= 0; --i) {
      slab.start[static_cast<size_t>(i)] = static_cast<hsize_t>(rest % shape[i]);
      rest /= shape[i];
    }
    for (int64_t at = 0; at < shape[axis]; at += step) {
      const int64_t rows = std::min(step, shape[axis] - at);
      slab.start[static_cast<size_t>(axis)] = static_cast<hsize_t>(at);
      slab.count[static_cast<size_t>(axis)] = static_cast<hsize_t>(rows);
      slab.elements = rows * row;
      f(slab);
    }
  }
}

}  // namespace

void H5Reader::each_piece(std::string_view dataset, int64_t piece_bytes, const Piece& f) const {
  const H5Dataset data = state_->dataset(dataset);
  const int64_t element = element_bytes(data.known);
  if (element == 0) state_->refuse(dataset, "got {}, expected numbers", to_string(data.known));
  const int64_t most = std::max<int64_t>(1, piece_bytes / element);
  std::vector<std::byte> buffer(static_cast<size_t>(element * std::min(most, data.shape.size())));
  const std::string expected = state_->expected_hash(dataset, data);
  Xxh3Stream hash;
  int64_t first = 0;
  const auto take = [&](hid_t memory, hid_t space, int64_t elements) {
    if (H5Dread(data.handle, h5_number_type(data.known), memory, space, H5P_DEFAULT,
                buffer.data()) < 0) {
      state_->give_up(dataset, "cannot be read");
    }
    const auto bytes = std::span(buffer).first(static_cast<size_t>(element * elements));
    hash.update(bytes);
    f(first, bytes);
    first += elements;
  };
  if (data.shape.rank() == 0) {
    take(H5S_ALL, H5S_ALL, 1);
  } else if (data.shape.size() > 0) {
    each_slab(data.shape, most, [&](const Slab& slab) {
      const auto elements = static_cast<hsize_t>(slab.elements);
      const H5Handle memory(H5Screate_simple(1, &elements, nullptr), H5Sclose);
      if (!memory || H5Sselect_hyperslab(data.space, H5S_SELECT_SET, slab.start.data(), nullptr,
                                         slab.count.data(), nullptr) < 0) {
        state_->give_up(dataset, "cannot be read");
      }
      take(memory, data.space, slab.elements);
    });
  }
  const std::string got = to_string(hash.digest());
  if (!expected.empty() && got != expected) {
    state_->refuse(dataset, "is damaged: got xxh3 {}, expected {}", got, expected);
  }
}

}  // namespace offshoot
