// HDF5 files: what is written is read, by us and by others; what is wrong is refused.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <thread>

#include "engine/hdf5_file.h"
#include "engine/random.h"
#include "engine/xxh3.h"
#include "tests/engine/file_test.h"

namespace offshoot {
namespace {

class Hdf5Test : public FileTest {};

template <class T>
std::vector<T> random_values(size_t count, uint64_t seed) {
  Random random(seed, 1);
  std::vector<T> values(count);
  for (T& value : values) value = static_cast<T>(random.normal() * 50);
  return values;
}

const std::vector<H5Column> kLineage{
    {"id", std::vector<int64_t>{0, 1, 2}},
    {"p_value", std::vector<double>{std::numeric_limits<double>::quiet_NaN(), 0.01, 1e-300}},
    {"parent", std::vector<int64_t>{-1, 0, 0}}};

// One of everything, 64 KiB rows in chunks included.
void write_sample(const std::string& path, uint64_t seed = 1) {
  AtomicFile file(path);
  H5Writer h5(file);
  h5.write("model/block.fc1.weight", {3, 5, 7}, random_values<float>(105, seed));
  h5.write("model/rows", {3, 20000}, random_values<float>(60000, seed), H5Rows::growing);
  h5.write("model/small rows", {3, 2}, random_values<float>(6, seed), H5Rows::growing);
  h5.write("f64", {17}, random_values<double>(17, seed));
  h5.write("deep/er/i32", {2, 3}, random_values<int32_t>(6, seed));
  h5.write("deep/i64", {1}, std::vector<int64_t>{std::numeric_limits<int64_t>::min()});
  h5.write("deep/u64", {}, std::vector<uint64_t>{std::numeric_limits<uint64_t>::max()});
  h5.write("u8", {255}, random_values<uint8_t>(255, seed));
  h5.write_text("configuration", "{\"d\": 64, \"name\": \"Müller\"}");
  h5.write_texts("names", {"a", "", "größer"});
  h5.write_table("lineage/block0", kLineage);
  h5.set_attribute("/", "format", "sample");
  h5.set_attribute("/", "step", 1234567890123);
  h5.set_attribute("deep", "rate", 0.1);
  h5.set_attribute("u8", "empty", "");
  h5.close();
  file.commit();
}

TEST_F(Hdf5Test, ReadsBackEveryTypeBitForBit) {
  write_sample(path("a.h5"));
  const H5Reader h5(path("a.h5"));
  EXPECT_EQ(h5.read<float>("/model/block.fc1.weight", {3, 5, 7}), random_values<float>(105, 1));
  EXPECT_EQ(h5.read<float>("model/rows", {3, 20000}), random_values<float>(60000, 1));
  EXPECT_EQ(h5.read<double>("f64"), random_values<double>(17, 1));
  EXPECT_EQ(h5.read<int32_t>("deep/er/i32"), random_values<int32_t>(6, 1));
  EXPECT_EQ(h5.read<int64_t>("deep/i64").front(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(h5.read<uint64_t>("deep/u64", {}).front(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(h5.read<uint8_t>("u8"), random_values<uint8_t>(255, 1));
  EXPECT_EQ(h5.read_text("configuration"), "{\"d\": 64, \"name\": \"Müller\"}");
  EXPECT_EQ(h5.read_texts("names"), (std::vector<std::string>{"a", "", "größer"}));
  EXPECT_EQ(h5.text_attribute("/", "format"), "sample");
  EXPECT_EQ(h5.integer_attribute("/", "step"), 1234567890123);
  EXPECT_EQ(h5.number_attribute("deep", "rate"), 0.1);
  EXPECT_EQ(h5.text_attribute("u8", "empty"), "");
  const std::vector<H5Column> lineage = h5.read_table("lineage/block0");
  ASSERT_EQ(lineage.size(), 3u);
  EXPECT_EQ(lineage[0], kLineage[0]);
  EXPECT_EQ(lineage[2], kLineage[2]);
  EXPECT_TRUE(std::isnan(std::get<1>(lineage[1].values)[0]));
  EXPECT_EQ(std::get<1>(lineage[1].values)[2], 1e-300);
}

TEST_F(Hdf5Test, ListsNamesTypesAndShapes) {
  write_sample(path("a.h5"));
  const H5Reader h5(path("a.h5"));
  EXPECT_EQ(h5.children("/"), (std::vector<std::string>{"configuration", "deep", "f64", "lineage",
                                                        "model", "names", "u8"}));
  EXPECT_EQ(h5.datasets("deep"), (std::vector<std::string>{"deep/er/i32", "deep/i64", "deep/u64"}));
  EXPECT_EQ(h5.datasets().size(), 11u);
  EXPECT_EQ(h5.info("model/rows"), (H5Info{H5Type::f32, {3, 20000}}));
  EXPECT_EQ(h5.info("configuration"), (H5Info{H5Type::text, {}}));
  EXPECT_EQ(h5.info("lineage/block0"), (H5Info{H5Type::table, {3}}));
  EXPECT_TRUE(h5.has("deep/er"));
  EXPECT_TRUE(h5.is_group("deep/er"));
  EXPECT_FALSE(h5.has("deep/er/other"));
  EXPECT_FALSE(h5.has("no/such/group"));
  EXPECT_EQ(h5.attributes("/"), (std::vector<std::string>{"format", "step"}));
  EXPECT_EQ(h5.attribute("/", "step"), "1234567890123");
}

// All bytes of a dataset as its pieces bring them, and how large those were.
struct Pieces {
  std::string bytes;
  std::vector<int64_t> sizes;
};

Pieces pieces_of(const H5Reader& h5, std::string_view name, int64_t piece_bytes) {
  Pieces all;
  h5.each_piece(name, piece_bytes, [&](int64_t first, std::span<const std::byte> piece) {
    const int64_t element = element_bytes(h5.info(name).type);
    EXPECT_EQ(first * element, std::ssize(all.bytes));
    all.bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    all.sizes.push_back(std::ssize(piece));
  });
  return all;
}

TEST_F(Hdf5Test, ReadsInPieces) {
  write_sample(path("a.h5"));
  const H5Reader h5(path("a.h5"));
  for (const std::string name : {"model/block.fc1.weight", "model/rows", "f64", "deep/er/i32",
                                 "deep/i64", "deep/u64", "u8"}) {
    const H5Info info = h5.info(name);
    std::vector<std::byte> whole(static_cast<size_t>(info.shape.size() * element_bytes(info.type)));
    h5.read_bytes(name, info.type, whole);
    const std::string expected(reinterpret_cast<const char*>(whole.data()), whole.size());
    // Within the last axis, along one before it, across all of them, and all at once.
    for (const int64_t piece_bytes : {1, 12, 28, 100, 140, 300, 80'000, 200'000, 1 << 20}) {
      const Pieces pieces = pieces_of(h5, name, piece_bytes);
      EXPECT_EQ(pieces.bytes, expected) << name << " by " << piece_bytes;
      for (const int64_t size : pieces.sizes) {
        EXPECT_LE(size, std::max(piece_bytes, element_bytes(info.type))) << name;
      }
    }
  }
  EXPECT_EQ(pieces_of(h5, "model/block.fc1.weight", 300).sizes,  // two rows of 7 times 5 are 280
            (std::vector<int64_t>{280, 140}));
  EXPECT_EQ(pieces_of(h5, "model/rows", 160'000).sizes.size(), 2u);
  EXPECT_TRUE(contains(error_of([&] { pieces_of(h5, "names", 100); }), "expected numbers"));
  EXPECT_EQ(h5.stored_bytes("model/rows"), 240'000);
}

TEST_F(Hdf5Test, PiecesAreCheckedAtTheirEnd) {
  write_sample(path("a.h5"));
  std::string bytes = bytes_of(path("a.h5"));
  const auto values = random_values<double>(17, 1);
  const std::string last(reinterpret_cast<const char*>(&values[16]), 8);
  bytes[bytes.find(last)] ^= 1;
  put_bytes(path("a.h5"), bytes);
  const H5Reader h5(InputFile(path("a.h5")), H5Reader::Trust::checked);
  int64_t elements = 0;
  const std::string error = error_of([&] {
    h5.each_piece("f64", 32, [&](int64_t, std::span<const std::byte> piece) {
      elements += std::ssize(piece) / 8;
    });
  });
  EXPECT_TRUE(contains(error, "f64: is damaged: got xxh3 ")) << error;
  EXPECT_EQ(elements, 17);
}

TEST_F(Hdf5Test, EqualCallsGiveEqualBytes) {
  write_sample(path("a.h5"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5's time stamps are seconds
  write_sample(path("b.h5"));
  write_sample(path("c.h5"), 2);
  EXPECT_EQ(bytes_of(path("a.h5")), bytes_of(path("b.h5")));
  EXPECT_NE(bytes_of(path("a.h5")), bytes_of(path("c.h5")));
}

TEST_F(Hdf5Test, CarriesTheHashOfEachDataset) {
  write_sample(path("a.h5"));
  const H5Reader h5(path("a.h5"));
  const auto values = random_values<double>(17, 1);
  EXPECT_EQ(h5.text_attribute("f64", "xxh3"), to_string(xxh3(std::as_bytes(std::span(values)))));
  Xxh3Stream stream;
  stream.update(std::as_bytes(std::span(values).first(3)));
  stream.update(std::as_bytes(std::span(values).subspan(3)));
  EXPECT_EQ(to_string(stream.digest()), h5.text_attribute("f64", "xxh3"));
  EXPECT_EQ(to_string(xxh3({})), "99aa06d3014798d86001c324468d497f");  // xxHash's own test
}

TEST_F(Hdf5Test, RefusesWhatDoesNotFit) {
  AtomicFile file(path("a.h5"));
  H5Writer h5(file);
  const std::vector<float> six(6);
  EXPECT_TRUE(contains(error_of([&] { h5.write("x", {2, 2}, six); }), "got 24 bytes, expected 16"));
  EXPECT_NE(error_of([&] { h5.write("x", {0}, std::vector<float>{}); }), "");
  EXPECT_NE(error_of([&] { h5.write_table("x", {{"id", std::vector<int64_t>{}}}); }), "");
  EXPECT_NE(error_of([&] {
              h5.write_table("x", {{"id", std::vector<int64_t>{1}}, {"p", std::vector<double>{}}});
            }),
            "");
  EXPECT_NE(error_of([&] { h5.write_text("x", std::string_view("a\0b", 3)); }), "");
  h5.write("x", {6}, six);
  EXPECT_NE(error_of([&] { h5.write("x", {6}, six); }), "");
  EXPECT_NE(error_of([&] { h5.write("x/y", {6}, six); }), "");
  EXPECT_NE(error_of([&] { h5.set_attribute("z", "a", 1); }), "");
}

TEST_F(Hdf5Test, ErrorsNameFileDatasetAndExpectation) {
  write_sample(path("a.h5"));
  const H5Reader h5(path("a.h5"));
  EXPECT_EQ(error_of([&] { h5.read<float>("f64"); }),
            fmt::format("[hdf5] {}: f64: got f64, expected f32", path("a.h5")));
  EXPECT_EQ(
      error_of([&] {
        h5.read<float>("model/rows", {3, 1});
      }),
      fmt::format("[hdf5] {}: model/rows: got f32 [3, 20000], expected f32 [3, 1]", path("a.h5")));
  EXPECT_EQ(error_of([&] { h5.read<float>("model/none"); }),
            fmt::format("[hdf5] {}: model/none: is missing", path("a.h5")));
  EXPECT_TRUE(contains(error_of([&] { h5.read<float>("model"); }), "is not a dataset"));
  EXPECT_TRUE(contains(error_of([&] { h5.text_attribute("/", "step"); }), "is not text"));
  EXPECT_NE(error_of([&] { h5.integer_attribute("/", "format"); }), "");
  EXPECT_TRUE(contains(error_of([&] { h5.text_attribute("/", "none"); }), "is missing"));
  EXPECT_NE(error_of([&] { h5.read_table("f64"); }), "");
  EXPECT_NE(error_of([&] { h5.read_text("names"); }), "");
}

TEST_F(Hdf5Test, RefusesFilesThatAreNone) {
  EXPECT_TRUE(contains(error_of([&] { H5Reader h5(path("none.h5")); }), "No such file"));
  EXPECT_TRUE(contains(error_of([&] { H5Reader h5(folder_.string()); }), "not a regular file"));
  put_bytes(path("empty.h5"), "");
  EXPECT_TRUE(contains(error_of([&] { H5Reader h5(path("empty.h5")); }), "not an HDF5 file"));
  put_bytes(path("text.h5"), std::string(5000, 'x'));
  EXPECT_TRUE(contains(error_of([&] { H5Reader h5(path("text.h5")); }), "not an HDF5 file"));
}

// Every truncation is found; a flipped byte is found where it lies in a dataset or in metadata
// that is used, and never does harm.
TEST_F(Hdf5Test, DamagedFilesGiveErrors) {
  write_sample(path("a.h5"));
  const std::string whole = bytes_of(path("a.h5"));
  const std::string damaged = path("b.h5");
  for (const size_t length : {size_t{8}, size_t{100}, size_t{512}, whole.size() / 3,
                              whole.size() / 2, whole.size() - 1}) {
    put_bytes(damaged, whole.substr(0, length));
    EXPECT_NE(error_of([&] { H5Reader h5(damaged); }), "") << length;
  }
  Random random(7, 7);
  int found = 0;
  for (int trial = 0; trial < 60; ++trial) {
    std::string flipped = whole;
    flipped[static_cast<size_t>(random.below(std::ssize(whole)))] ^= '\x10';
    put_bytes(damaged, flipped);
    const std::string error = error_of([&] { H5Reader h5(damaged); });
    if (!error.empty()) ++found;
  }
  EXPECT_GT(found, 30);
  const auto values = random_values<double>(17, 1);
  const std::string needle(reinterpret_cast<const char*>(values.data()), 17 * sizeof(double));
  std::string flipped = whole;
  const size_t at = flipped.find(needle);
  ASSERT_NE(at, std::string::npos);
  flipped[at + 9] ^= '\x01';
  put_bytes(damaged, flipped);
  EXPECT_TRUE(contains(error_of([&] { H5Reader h5(damaged); }), "f64: is damaged"));
}

// No write that fails leaves a file, touches the old one, or takes the process down.
TEST_F(Hdf5Test, EveryFailingCallKeepsTheOldFile) {
  write_sample(path("a.h5"));
  const std::string before = bytes_of(path("a.h5"));
  for (int64_t call = 0;; ++call) {
    int64_t calls = 0;
    const std::string error = error_of([&] {
      AtomicFile file(path("a.h5"), {call, ENOSPC});
      {
        H5Writer h5(file);
        h5.write("x", {60000}, random_values<float>(60000, 3));
        h5.write("y/z", {3, 20000}, random_values<float>(60000, 4), H5Rows::growing);
        h5.set_attribute("/", "format", "other");
        h5.close();
      }
      file.commit();
      calls = file.calls();
    });
    if (error.empty()) {
      EXPECT_EQ(calls, call);
      EXPECT_GT(calls, 5);
      break;
    }
    EXPECT_TRUE(contains(error, "No space left on device (ENOSPC)")) << error;
    EXPECT_EQ(files(), 1) << call;
    // The last call forces the folder: then the new file is there, and whole.
    const std::string after = bytes_of(path("a.h5"));
    EXPECT_EQ(after != before, contains(error, "is in place")) << call;
    H5Reader h5(path("a.h5"));
  }
  EXPECT_EQ(H5Reader(path("a.h5")).text_attribute("/", "format"), "other");
}

TEST_F(Hdf5Test, OtherToolsReadIt) {
  write_sample(path("a.h5"));
  write_sample(path("b.h5"));
  if (shell("h5dump -V > out 2>&1") != 0) GTEST_SKIP() << "h5dump is not installed";
  EXPECT_EQ(shell("h5dump a.h5 > out"), 0);
  EXPECT_EQ(shell("h5ls -r a.h5 > out"), 0);
  EXPECT_EQ(shell("h5diff a.h5 b.h5 > out"), 0);
  EXPECT_EQ(bytes_of(path("out")), "");
}

TEST_F(Hdf5Test, H5pyReadsIt) {
  write_sample(path("a.h5"));
  const std::string python = python_with_h5py();
  if (python.empty()) GTEST_SKIP() << "h5py is not installed";
  put_bytes(path("check.py"), R"(
import h5py, math
f = h5py.File('a.h5', 'r')
assert f.attrs['format'] == 'sample' and f.attrs['step'] == 1234567890123
assert f['model/rows'].shape == (3, 20000) and f['model/rows'].chunks == (1, 20000)
assert f['model/small rows'].chunks is None
t = f['lineage/block0']
assert t.dtype.names == ('id', 'p_value', 'parent') and list(t['parent']) == [-1, 0, 0]
assert math.isnan(t['p_value'][0]) and t['p_value'][1] == 0.01
assert f['configuration'][()].decode() == '{"d": 64, "name": "Müller"}'
assert [n.decode() for n in f['names'][:]] == ['a', '', 'größer']
assert f['deep/u64'][()] == 2**64 - 1
)");
  EXPECT_EQ(shell(python + " check.py"), 0);
}

// What a file can claim or point to without being damaged.
TEST_F(Hdf5Test, RefusesTraps) {
  const std::string python = python_with_h5py();
  if (python.empty()) GTEST_SKIP() << "h5py is not installed";
  put_bytes(path("make.py"), R"(
import h5py, numpy as np
def file(name): return h5py.File(name, 'w')
with file('huge.h5') as f: f.create_dataset('x', (1 << 40,), 'f4')
with file('huge_chunked.h5') as f: f.create_dataset('x', (1 << 50,), 'f4', chunks=(1 << 20,))
with file('packed.h5') as f: f.create_dataset('x', (1 << 40,), 'u1', chunks=(1 << 16,), compression=9)
with file('cycle.h5') as f: f.create_group('a')['b'] = f['/']
with file('soft.h5') as f: f['a'] = h5py.SoftLink('/nowhere')
with file('outside.h5') as f: f['a'] = h5py.ExternalLink('other.h5', '/x')
with file('elsewhere.h5') as f:
    f.create_dataset('x', (4,), 'f4', external=[('/etc/passwd', 0, 16)])
with file('line\nbreak.h5') as f: pass
with file('name.h5') as f: f.create_dataset('a\nb', (1 << 40,), 'f4')
with file('others.h5') as f:
    f['half'] = np.zeros(3, 'f2'); f['flags'] = np.array([True, False]); f['x'] = np.arange(4.0)
    f['empty'] = np.zeros((0, 3)); f['none'] = h5py.Empty('f4'); f['texts'] = ['a', 'bc']
    f.attrs['list'] = [1, 2, 3]; f.attrs['text'] = 'a'; f.attrs['real'] = np.float32(0.5)
with file('deep.h5') as f:
    g = f
    for i in range(100): g = g.create_group('g')
)");
  ASSERT_EQ(shell(python + " make.py"), 0);
  const std::map<std::string, std::string> errors{
      {"huge.h5", "x: got shape [1099511627776] of 4 bytes an element, but the file holds only"},
      {"huge_chunked.h5", "x: got shape"},
      {"packed.h5", "x: got shape"},
      {"cycle.h5", "linked in a cycle"},
      {"soft.h5", "soft or external link"},
      {"outside.h5", "soft or external link"},
      {"elsewhere.h5", "its bytes lie in another file"},
      {"name.h5", "a?b: got shape"},
      {"deep.h5", "deeper than"}};
  for (const auto& [name, expected] : errors) {
    const std::string error = error_of([&, &file = name] { H5Reader h5(path(file)); });
    EXPECT_TRUE(contains(error, expected)) << error;
    EXPECT_TRUE(contains(error, path(name))) << error;
  }
  const H5Reader others(path("others.h5"));
  EXPECT_EQ(others.info("half").type, H5Type::other);
  EXPECT_EQ(others.read<double>("x"), (std::vector<double>{0, 1, 2, 3}));
  EXPECT_EQ(others.info("empty").shape, (Shape{0, 3}));
  EXPECT_EQ(others.read<double>("empty").size(), 0u);
  EXPECT_EQ(others.info("none").shape, (Shape{0}));
  EXPECT_EQ(others.read_texts("texts"), (std::vector<std::string>{"a", "bc"}));
  EXPECT_EQ(others.attributes("/"), (std::vector<std::string>{"real", "text"}));
  EXPECT_EQ(others.attribute("/", "real"), "0.5");
  EXPECT_NE(error_of([&] { others.read<float>("half"); }), "");
}

TEST_F(Hdf5Test, ReadsWhatOtherToolsRewrite) {
  write_sample(path("a.h5"));
  if (shell("h5repack -V > out 2>&1") != 0) GTEST_SKIP() << "h5repack is not installed";
  ASSERT_EQ(shell("h5repack -f GZIP=4 a.h5 b.h5"), 0);
  const H5Reader a(path("a.h5")), b(path("b.h5"));
  EXPECT_EQ(a.datasets(), b.datasets());
  EXPECT_EQ(a.read<float>("model/rows"), b.read<float>("model/rows"));
}

}  // namespace
}  // namespace offshoot
