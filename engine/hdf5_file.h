// HDF5 files: plain ones, that h5py, h5dump and HDFView read without our code.
//
// Names are paths from the root, "model/head.weight"; missing groups on the way are created. Every
// dataset carries the XXH3-128 of its bytes as attribute `xxh3`; reading checks it where it is.
// Nothing depends on time, so equal calls give equal files. One thread at a time: the library is
// not thread-safe, and its state is the process's.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/file.h"
#include "engine/shape.h"

namespace offshoot {

// What a dataset holds. text: UTF-8 strings. table: rows of named int64 and double columns, nothing
// else among them.
// other: what other tools wrote and this reader does not read.
enum class H5Type { f32, f64, i32, i64, u8, u64, text, table, other };
std::string_view to_string(H5Type type);
int64_t element_bytes(H5Type type);  // 0 for text, table and other

template <class T>
struct H5TypeOf;  // no other element types
template <>
struct H5TypeOf<float> : std::integral_constant<H5Type, H5Type::f32> {};
template <>
struct H5TypeOf<double> : std::integral_constant<H5Type, H5Type::f64> {};
template <>
struct H5TypeOf<int32_t> : std::integral_constant<H5Type, H5Type::i32> {};
template <>
struct H5TypeOf<int64_t> : std::integral_constant<H5Type, H5Type::i64> {};
template <>
struct H5TypeOf<uint8_t> : std::integral_constant<H5Type, H5Type::u8> {};
template <>
struct H5TypeOf<uint64_t> : std::integral_constant<H5Type, H5Type::u64> {};

struct H5Column {
  std::string name;
  std::variant<std::vector<int64_t>, std::vector<double>> values;
  friend bool operator==(const H5Column&, const H5Column&) = default;
};

// Where a dataset's rows (its first dimension) lie. growing: a chunk for each row of 64 KiB or
// more, so that other tools can append rows; else, and for fixed, in one piece. Never a filter.
enum class H5Rows { fixed, growing };

// Writes one file:
//   AtomicFile file(path);
//   H5Writer h5(file);
//   h5.write("train/tokens", {20, 10240}, tokens);
//   h5.set_attribute("/", "format", "ginc-corpus");
//   h5.close();
//   file.commit();
// All throw Error, on a full disk too, and on names taken, empty datasets (h5diff cannot compare
// them) and counts that differ from the shape.
class H5Writer {
 public:
  // The first `user_block_bytes` of the file (0, 512, 1024, ...) are the caller's to fill. `file`
  // outlives this.
  explicit H5Writer(AtomicFile& file, int64_t user_block_bytes = 0);
  H5Writer(H5Writer&&) noexcept;
  // Without close() the file is given up.
  ~H5Writer();

  template <std::ranges::contiguous_range R>
  void write(std::string_view name, const Shape& shape, const R& values,
             H5Rows rows = H5Rows::fixed) {
    using T = std::ranges::range_value_t<R>;
    write_bytes(name, H5TypeOf<T>::value, shape,
                std::as_bytes(std::span<const T>(std::ranges::data(values), std::size(values))),
                rows);
  }
  void write_bytes(std::string_view name, H5Type type, const Shape& shape,
                   std::span<const std::byte> bytes, H5Rows rows = H5Rows::fixed);

  // A scalar, or one dimension: fixed-length UTF-8, padded with zeros. No text holds a zero byte.
  void write_text(std::string_view name, std::string_view text);
  void write_texts(std::string_view name, const std::vector<std::string>& texts);

  // One compound type; columns of equal length, at least one row.
  void write_table(std::string_view name, const std::vector<H5Column>& columns);

  // On a group or dataset that exists ("/": the root).
  void set_attribute(std::string_view object, std::string_view name, std::string_view text);
  template <std::integral T>
  void set_attribute(std::string_view object, std::string_view name, T value) {
    set_integer(object, name, static_cast<int64_t>(value));
  }
  template <std::floating_point T>
  void set_attribute(std::string_view object, std::string_view name, T value) {
    set_number(object, name, static_cast<double>(value));
  }

  // Hands everything to the file, which is then whole but for the user block and not committed.
  void close();

 private:
  struct State;
  void set_integer(std::string_view object, std::string_view name, int64_t value);
  void set_number(std::string_view object, std::string_view name, double value);
  std::unique_ptr<State> state_;
};

struct H5Info {
  H5Type type;
  Shape shape;
  friend bool operator==(const H5Info&, const H5Info&) = default;
};

// Reads one file. All throw Error: on what is missing, of another type or shape, damaged, linked
// from elsewhere, or larger than the file's size justifies.
class H5Reader {
 public:
  enum class Trust {
    none,     // a damaged file can hang or crash the library: a child process reads it all first
    checked,  // the caller has checked the bytes
  };

  explicit H5Reader(const std::string& path) : H5Reader(InputFile(path), Trust::none) {}
  H5Reader(InputFile file, Trust trust);
  H5Reader(H5Reader&&) noexcept;
  ~H5Reader();

  const std::string& path() const;

  bool has(std::string_view name) const;  // group or dataset
  bool is_group(std::string_view name) const;
  std::vector<std::string> children(std::string_view group) const;  // sorted by bytes
  // All datasets below, by their names from the root without the leading slash; sorted by bytes.
  std::vector<std::string> datasets(std::string_view group = "/") const;
  H5Info info(std::string_view dataset) const;

  // Every element, whatever the shape.
  template <class T>
  std::vector<T> read(std::string_view dataset) const {
    std::vector<T> values(static_cast<size_t>(count(dataset)));
    read_bytes(dataset, H5TypeOf<T>::value, std::as_writable_bytes(std::span(values)));
    return values;
  }
  // Fails when shape or type differ.
  template <class T>
  std::vector<T> read(std::string_view dataset, const Shape& shape) const {
    expect(dataset, {H5TypeOf<T>::value, shape});
    return read<T>(dataset);
  }
  // `bytes` holds exactly the dataset.
  void read_bytes(std::string_view dataset, H5Type type, std::span<std::byte> bytes) const;
  void expect(std::string_view dataset, const H5Info& expected) const;

  // Calls f(first, bytes) for all elements of a number type in their order, in pieces of at most
  // `piece_bytes` (and at least one element); `first` is the index of the piece's first element.
  // A wrong `xxh3` throws after the last piece.
  using Piece = std::function<void(int64_t first, std::span<const std::byte> bytes)>;
  void each_piece(std::string_view dataset, int64_t piece_bytes, const Piece& f) const;

  // What the file keeps of a dataset.
  int64_t stored_bytes(std::string_view dataset) const;

  std::string read_text(std::string_view dataset) const;                // a scalar
  std::vector<std::string> read_texts(std::string_view dataset) const;  // one dimension
  std::vector<H5Column> read_table(std::string_view dataset) const;

  // The names of those that hold one text, integer or number; sorted by bytes.
  std::vector<std::string> attributes(std::string_view object) const;
  // Any of them as text.
  std::string attribute(std::string_view object, std::string_view name) const;
  bool has_attribute(std::string_view object, std::string_view name) const;
  std::string text_attribute(std::string_view object, std::string_view name) const;
  int64_t integer_attribute(std::string_view object, std::string_view name) const;
  double number_attribute(std::string_view object, std::string_view name) const;

  // Every object below and with `group`, as datasets() names them; "": the root.
  std::vector<std::string> objects(std::string_view group = "/") const;

 private:
  friend class H5Pieces;
  struct State;
  int64_t count(std::string_view dataset) const;
  std::unique_ptr<State> state_;
};

// The same pieces, each when it is asked for. The reader outlives this.
class H5Pieces {
 public:
  H5Pieces(const H5Reader& file, std::string_view dataset, int64_t piece_bytes);
  ~H5Pieces();
  H5Pieces(const H5Pieces&) = delete;
  H5Pieces& operator=(const H5Pieces&) = delete;

  // Valid until the next call. Empty at the end, where a wrong `xxh3` throws.
  std::span<const std::byte> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace offshoot
